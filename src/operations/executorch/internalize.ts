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

/** Which weights go into the program. */
export type InternalRule = Pick<SplitRule, "names" | "layers">;

/** Options of {@link internalize}. */
export interface InternalizeOptions {
  /** What one of them selects is moved; all is unless given. */
  readonly only?: readonly InternalRule[] | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: Progress) => void) | undefined;
}

/** What {@link internalize} wrote. */
export interface InternalizeResult {
  readonly path: string;
  /** In bytes. */
  readonly size: number;
  /** Names of tensors that are constants of the program now. */
  readonly constants: readonly string[];
  /** Keys that are named data of the program now. */
  readonly named: readonly string[];
  /** Names of tensors that are in data files still. */
  readonly external: readonly string[];
}

/**
 * Writes an ExecuTorch program with the weights inside that it has in data files: the way back of `externalize`. Files
 * that were given are left as they are.
 * @param path of the .pte file, or of a folder with one and its data files
 * @param data paths of the .ptd files; unless there are some, the folder's, or the one with the program's name
 * @param out the file to write
 * @throws FormatError, `mismatch` and `duplicate` among them; LinkError `missing-weight` for what no data file has,
 * `not-found` where everything is inside, or a rule selects nothing; SourceError `exists`, `source-changed`
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
    // Before the file gets its name.
    await requireUnchanged(sources.all);
  };
  await writeNewFile(out, chunks(), {
    signal,
    onBytes: (bytes) => onProgress?.({ done: (done += bytes), total: size }),
  });
  return { path: resolve(out), size, constants, named, external };
}

/** Which files are meant: where a folder is named, its own; where none of data is, the one with the program's name. */
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
    throw new UsageError("usage", `Cannot tell which program of "${path}" is meant: it has ${found}`, {
      hint: "name the program (.pte), and its data files (.ptd)",
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
  return new LinkError("not-found", `Cannot move weights into "${path}": none in data files is "${rule}"`, {
    path,
    hint: "tare add and tare show list the weights of programs and data files",
  });
}
