import { readdir, stat } from "node:fs/promises";
import { basename, dirname, extname, join, resolve } from "node:path";
import type { ReadOptions } from "../io/byte-source.ts";
import { FormatError, UsageError } from "../errors.ts";
import type { Format } from "../formats/format.ts";
import { MODEL_FILES, recognizeFormat } from "../formats/registry.ts";
import type { FileDraft, ModelDraft } from "../model/draft.ts";
import { fileError, type FileSource, openFileSource } from "./file-source.ts";
import { foreignLink, requireOwnFiles } from "./foreign-link.ts";
import { openFolder } from "./model-folder.ts";
import { COMPANIONS, programsIn } from "./programs-in.ts";

/** The open files of a model, and the draft that the format's reader made. Dispose it to close them. */
export interface OpenModel extends AsyncDisposable {
  /** Default name of the model. */
  readonly name: string;
  readonly draft: ModelDraft<FileSource>;
}

const MAX_COMPANION_BYTES = 64 * 1024 * 1024;

/**
 * Opens the files of one model: a folder (each program in it is a method, and its small companion files are included),
 * or programs in one folder. The programs name their files of external data.
 * @throws UsageError, FormatError, SourceError
 */
export async function openModel(paths: readonly string[], options: ReadOptions = {}): Promise<OpenModel> {
  const [first] = paths;
  if (first === undefined) throw new UsageError("usage", "Cannot open a model: no file or folder is given");
  const stats = await stat(first).catch((cause: unknown) => {
    throw fileError(first, "open", cause);
  });
  const folder = stats.isDirectory() ? resolve(first) : dirname(resolve(first));
  const { names, notes } = stats.isDirectory()
    ? await programsIn(folder, first)
    : { names: paths.map((path) => basename(path)), notes: [] };
  if (stats.isDirectory() ? paths.length > 1 : paths.some((path) => dirname(resolve(path)) !== folder)) {
    throw new UsageError("usage", "Cannot make one model of files in several folders", {
      hint: "Put the files into one folder, or add each alone",
    });
  }
  if (stats.isDirectory()) await requireOwnFiles(folder, names);
  const name = basename(resolve(first), stats.isDirectory() ? undefined : extname(first));

  const opened: AsyncDisposable[] = [];
  const close = async (): Promise<void> => {
    for (const each of opened.splice(0)) await each[Symbol.asyncDispose]();
  };
  const openIn = async (path: string): Promise<FileSource> => {
    const source = await openFileSource(join(folder, path));
    opened.push(source);
    return source;
  };
  try {
    const home = openFolder(folder, names);
    opened.push(home);
    const programs: FileDraft[] = [];
    for (const path of names) programs.push({ path, source: await openIn(path) });
    const draft = await (await formatOf(first, programs, options)).read(programs, home, options);
    const files = draft.files.map(({ path, source }) => ({ path, source: source as FileSource }));
    const leftOut: string[] = [];
    if (stats.isDirectory()) {
      const known = new Set(files.map((file) => file.path));
      for (const path of await companionsIn(folder)) {
        if (known.has(path)) continue;
        const link = await foreignLink(folder, path);
        if (link === undefined) files.push({ path, source: await openIn(path) });
        else leftOut.push(`left out "${path}": it is ${link}`);
      }
    }
    const all = [...(draft.notes ?? []), ...notes, ...leftOut];
    return {
      name,
      draft: { ...draft, files, ...(all.length > 0 && { notes: all }) },
      [Symbol.asyncDispose]: close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

/** Finds the common format of all files, by their first bytes, else by their names. */
async function formatOf(path: string, programs: readonly FileDraft[], options: ReadOptions): Promise<Format> {
  const formats = await Promise.all(programs.map((program) => recognizeFormat(program, options)));
  const [format] = formats;
  const other = formats.find((each) => each?.id !== format?.id);
  if (format && !other) return format;
  const unknown = programs[formats.indexOf(undefined)];
  if (unknown) {
    const name = unknown.source.name;
    throw new FormatError(
      "unknown-format",
      `Cannot find the format of "${name}": neither its first bytes nor its name are known`,
      {
        path: name,
        hint: `Use a file that tare reads: ${MODEL_FILES.join(", ")}`,
      },
    );
  }
  const endings = new Set(programs.map((program) => extname(program.path).toLowerCase()));
  const kinds = endings.size > 1 ? [...endings] : [format?.id, other?.id];
  throw new UsageError("usage", `Cannot make one model of ${kinds.join(" and ")} files in "${path}"`, {
    hint: "Name files of one format",
  });
}

async function companionsIn(folder: string): Promise<string[]> {
  const names: string[] = [];
  for (const name of (await readdir(folder)).sort()) {
    if (name.startsWith(".") || !COMPANIONS.includes(extname(name).toLowerCase())) continue;
    const stats = await stat(join(folder, name)).catch(() => undefined);
    if (stats?.isFile() && stats.size <= MAX_COMPANION_BYTES) names.push(name);
  }
  return names;
}
