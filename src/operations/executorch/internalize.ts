import { readdir, stat } from "node:fs/promises";
import { join, resolve } from "node:path";
import { LinkError, UsageError } from "../../errors.ts";
import { internalizeProgram } from "../../formats/executorch/internalize.ts";
import { ruleSelects, type SplitRule } from "../split/split-rules.ts";
import { fileError, type FileSource, isAbsent, openFileSource } from "../../node/file-source.ts";
import { requireUnchanged } from "../../local-store/require-unchanged.ts";
import { requireNoFile, writeNewFile } from "../../node/write-new-file.ts";
import { streamPieces } from "./stream-pieces.ts";
import type { Progress } from "../../io/progress.ts";

/** A rule that selects weights to move into the program. */
export type InternalRule = Pick<SplitRule, "names" | "layers">;

/** Options of {@link internalize}. */
export interface InternalizeOptions {
  /** Move only weights that one of these rules matches; all weights unless given. */
  readonly only?: readonly InternalRule[] | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: Progress) => void) | undefined;
}

/** Result of {@link internalize}. */
export interface InternalizeResult {
  readonly path: string;
  /** Size in bytes. */
  readonly size: number;
  /** Names of the tensors that became constants of the program. */
  readonly constants: readonly string[];
  /** Keys of the entries that became named data of the program. */
  readonly named: readonly string[];
  /** Names of the tensors that are still in data files. */
  readonly external: readonly string[];
}

/**
 * Writes an ExecuTorch program that contains the weights of its data files. Reverses `externalize`. The original files
 * stay unchanged.
 * @param path path of the .pte file, or of a folder with one .pte file and its data files
 * @param data paths of the .ptd files; if empty, those of the folder, or the file with the program's name
 * @param out path of the new file
 * @throws FormatError (also `mismatch` and `duplicate`); LinkError `missing-weight` for a weight that no data file has,
 * `not-found` if the program has no external weights or a rule matches none; SourceError `exists`, `source-changed`
 */
export async function internalize(
  path: string,
  data: readonly string[],
  out: string,
  options: InternalizeOptions = {},
): Promise<InternalizeResult> {
  const { signal, onProgress, only = [] } = options;
  await requireNoFile(out);
  const files = await filesOf(path, data);
  await using sources = await openAll([files.program, ...files.data]);
  const [program, ...others] = sources.all as [FileSource, ...FileSource[]];
  const used = new Set<InternalRule>();
  const chooses = (name: string): boolean => {
    const rule = only.find((each) => ruleSelects({ part: "adapter", ...each }, name));
    if (rule) used.add(rule);
    return rule !== undefined || only.length === 0;
  };
  const made = await internalizeProgram(program, others, chooses, { signal });
  const idle = only.find((rule) => !used.has(rule));
  if (idle) throw selectsNothing(files.program, idle);

  const { header, size, constants, named, external } = made;
  const pieces = made.pieces.map(({ offset, from, file }) => ({
    offset,
    from,
    source: sources.all[file] as FileSource,
  }));
  let done = 0;
  const chunks = async function* (): AsyncGenerator<Uint8Array, void, undefined> {
    yield* streamPieces({ header, pieces, size }, { signal });
    // Check before the file is renamed to its final name.
    await requireUnchanged(sources.all);
  };
  await writeNewFile(out, chunks(), {
    signal,
    onBytes: (bytes) => onProgress?.({ done: (done += bytes), total: size }),
  });
  return { path: resolve(out), size, constants, named, external };
}

/** Finds the program and its data files: in a folder, or by the program's name if no data files are given. */
async function filesOf(
  path: string,
  data: readonly string[],
): Promise<{ readonly program: string; readonly data: readonly string[] }> {
  const stats = await stat(path).catch((cause: unknown) => {
    throw fileError(path, "open", cause);
  });
  if (!stats.isDirectory()) {
    if (data.length > 0) return { program: path, data };
    const named = path.replace(/(\.pte)?$/i, ".ptd");
    const there = await stat(named).catch((cause: unknown) => {
      if (isAbsent(cause)) return undefined;
      throw fileError(named, "open", cause);
    });
    return { program: path, data: there ? [named] : [] };
  }
  const names = (await readdir(path)).sort();
  const [program, other] = names.filter((name) => /\.pte$/i.test(name));
  if (program === undefined || other !== undefined) {
    const found = program === undefined ? "no program" : `"${program}" and "${other}"`;
    throw new UsageError("usage", `Cannot choose a program in "${path}": it has ${found}`, {
      hint: "Give the path of the program (.pte) and of its data files (.ptd)",
    });
  }
  const own = names.filter((name) => /\.ptd$/i.test(name)).map((name) => join(path, name));
  return { program: join(path, program), data: data.length > 0 ? data : own };
}

async function openAll(
  paths: readonly string[],
): Promise<AsyncDisposable & { readonly all: readonly FileSource[] }> {
  const all: FileSource[] = [];
  const close = async (): Promise<void> => {
    for (const each of all) await each[Symbol.asyncDispose]();
  };
  try {
    for (const path of paths) all.push(await openFileSource(path));
  } catch (error) {
    await close();
    throw error;
  }
  return { all, [Symbol.asyncDispose]: close };
}

function selectsNothing(path: string, { names = "*", layers }: InternalRule): LinkError {
  const rule = `${names}${layers ? `@${layers.join("-")}` : ""}`;
  return new LinkError(
    "not-found",
    `Cannot move weights into "${path}": no weight of its data files matches "${rule}"`,
    {
      path,
      hint: "List the weights of programs and data files with tare add and tare show",
    },
  );
}
