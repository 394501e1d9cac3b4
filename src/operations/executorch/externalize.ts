import { basename } from "node:path";
import { LinkError, UsageError } from "../../errors.ts";
import { externalizeProgram } from "../../formats/executorch/externalize.ts";
import type { MovableWeight } from "../../formats/executorch/externalize-tensors.ts";
import { encodeDataHeader } from "../../formats/executorch/write-data.ts";
import { ruleSelects, type SplitRule } from "../split/split-rules.ts";
import { isPlainPath } from "../../model/config.ts";
import { openFileSource } from "../../node/file-source.ts";
import { requireUnchanged } from "../../local-store/require-unchanged.ts";
import { writeFolder } from "../../node/write-folder.ts";
import { type FilePiece, type PiecedFile, streamPieces } from "./stream-pieces.ts";
import type { Progress } from "../../io/progress.ts";

/** A rule that selects the weights of a data file. */
export interface ExternalRule extends Pick<SplitRule, "names" | "layers"> {
  /** Name of the data file, without `.ptd`. */
  readonly file: string;
}

/** Options of {@link externalize}. */
export interface ExternalizeOptions {
  /**
   * The first rule that matches a weight applies; weights that no rule matches stay in the program. All weights are
   * written to one file unless given.
   */
  readonly rules?: readonly ExternalRule[] | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: Progress) => void) | undefined;
}

/** Result of {@link externalize}. Sizes in bytes. */
export interface ExternalizeResult {
  readonly path: string;
  /** The program, then the data files. */
  readonly files: readonly { readonly path: string; readonly size: number; readonly weights: number }[];
}

/**
 * Writes an ExecuTorch program whose weights are in data files beside it, as ExecuTorch's exporter writes them. Several
 * programs can then use one foundation file. The original program stays unchanged.
 * @param path path of the .pte file
 * @param out path of the new folder
 * @throws FormatError; LinkError `not-found` for a rule that selects nothing; SourceError `exists`, `source-changed`
 */
export async function externalize(
  path: string,
  out: string,
  options: ExternalizeOptions = {},
): Promise<ExternalizeResult> {
  const { signal, onProgress } = options;
  await using source = await openFileSource(path);
  const stem = basename(path).replace(/\.pte$/i, "");
  const rules = options.rules?.length ? options.rules : [{ file: stem }];
  for (const { file } of rules) requirePlain(file);
  const used = new Set<ExternalRule>();
  const choose = ({ name }: MovableWeight): string | undefined => {
    const rule = rules.find((each) => ruleSelects({ part: "adapter", ...each }, name));
    if (rule) used.add(rule);
    return rule?.file;
  };
  const { header, pieces, size, files } = await externalizeProgram(source, choose, { signal });
  const idle = rules.find((rule) => !used.has(rule));
  if (idle) throw selectsNothing(path, idle);

  const data = files.map(({ name, spec, from }) => ({
    name: `${name}.ptd`,
    from,
    spec,
    ...encodeDataHeader(spec),
  }));
  const total = data.reduce((sum, each) => sum + each.size, size);
  let done = 0;
  const stream = async function* (file: PiecedFile): AsyncGenerator<Uint8Array, void, undefined> {
    for await (const chunk of streamPieces(file, { signal })) {
      yield chunk;
      onProgress?.({ done: (done += chunk.byteLength), total });
    }
  };
  const program = `${stem}.pte`;
  const target = await writeFolder(
    out,
    [
      {
        name: program,
        chunks: stream({ header, size, pieces: pieces.map((each) => ({ ...each, source })) }),
      },
      ...data.map(({ name, bytes, segments, from, size: length }) => ({
        name,
        chunks: stream({
          header: bytes,
          size: length,
          pieces: segments.map(({ offset }, nth) => ({
            offset,
            from: from[nth] as FilePiece["from"],
            source,
          })),
        }),
      })),
    ],
    "write into",
    () => requireUnchanged([source]),
  );
  return {
    path: target,
    files: [
      { path: program, size, weights: 0 },
      ...data.map(({ name, size: bytes, spec }) => ({ path: name, size: bytes, weights: spec.named.length })),
    ],
  };
}

function requirePlain(file: string): void {
  if (isPlainPath(file) && !file.includes("/")) return;
  throw new UsageError("usage", `Cannot write a data file named "${file}"`, {
    hint: "Use a name of letters and digits, without the extension .ptd",
  });
}

function selectsNothing(path: string, { file, names = "*" }: ExternalRule): LinkError {
  return new LinkError(
    "not-found",
    `Cannot move weights of "${path}" to "${file}.ptd": no weight matches "${names}"`,
    {
      path,
      hint: "List the weights of a program with tare add and tare show; delegates cannot be moved",
    },
  );
}
