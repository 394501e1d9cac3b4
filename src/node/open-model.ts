import { readdir, stat } from "node:fs/promises";
import { basename, dirname, extname, join, resolve } from "node:path";
import type { ReadOptions } from "../bytes/byte-source.ts";
import { FormatError, UsageError } from "../errors.ts";
import { formatOf, isModelFile, MODEL_FILES, SIDE_EXTENSIONS } from "../formats/registry.ts";
import type { FileDraft, ModelDraft } from "../model/draft.ts";
import { fileError, type FileSource, openFileSource } from "./file-source.ts";
import { openFolder } from "./model-folder.ts";

/** A model's files, open, and what their format's reader found in them. Dispose it to close them. */
export interface OpenModel extends AsyncDisposable {
  /** What the model is called where nobody says otherwise. */
  readonly name: string;
  readonly draft: ModelDraft;
  /** The sources of `draft.files`, in the same order. */
  readonly files: readonly FileSource[];
}

/** Small files that belong to a model in a folder (tokenizer, settings, licence) and go with it. */
const COMPANIONS = [".json", ".txt", ".md", ".model", ".jinja", ".yaml", ".yml"];
const LARGEST_COMPANION = 64 * 1024 * 1024;

/**
 * Opens the files of one model: a folder (each program in it is a method, its small companions go with it), or one
 * or several programs in one folder. External data is found where the programs say.
 * @throws UsageError, FormatError, SourceError
 */
export async function openModel(paths: readonly string[], options: ReadOptions = {}): Promise<OpenModel> {
  const [first] = paths;
  if (first === undefined) throw new UsageError("usage", "Cannot add nothing: name a file or a folder");
  const stats = await stat(first).catch((cause: unknown) => {
    throw fileError(first, "open", cause);
  });
  const folder = stats.isDirectory() ? resolve(first) : dirname(resolve(first));
  const names = stats.isDirectory() ? await programsIn(folder, first) : paths.map((path) => basename(path));
  if (stats.isDirectory() ? paths.length > 1 : paths.some((path) => dirname(resolve(path)) !== folder)) {
    throw new UsageError("usage", "Cannot make one model of files in several folders", {
      hint: "put them into one folder, or add each by itself",
    });
  }
  const formats = new Set(await Promise.all(names.map(async (each) => (await formatOf(each))?.id)));
  if (formats.size > 1) {
    const kinds = new Set(names.map((each) => extname(each).toLowerCase()));
    throw new UsageError(
      "usage",
      `Cannot make one model of ${[...kinds].join(" and ")} files in "${first}"`,
      {
        hint: "name the files of one format: each is then a model",
      },
    );
  }
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
    const format = await formatOf(names[0] as string);
    if (!format) {
      throw new FormatError("unknown-format", `Cannot tell the format of "${first}"`, {
        path: first,
        hint: `tare reads ${MODEL_FILES.join(", ")}`,
      });
    }
    const draft = await format.read(programs, home, options);
    const files = [...draft.files];
    if (stats.isDirectory()) {
      const known = new Set(files.map((file) => file.path));
      for (const path of await companionsIn(folder)) {
        if (!known.has(path)) files.push({ path, source: await openIn(path) });
      }
    }
    return {
      name,
      draft: { ...draft, files },
      files: files.map((file) => file.source as FileSource),
      [Symbol.asyncDispose]: close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

async function programsIn(folder: string, path: string): Promise<string[]> {
  const names = (await readdir(folder)).filter(isModelFile).sort();
  const models = names.filter((name) => !SIDE_EXTENSIONS.includes(extname(name).toLowerCase()));
  if (names.length > 0) return models.length > 0 ? models : names;
  throw new FormatError("unknown-format", `Cannot find a model in "${path}"`, {
    path,
    hint: `a model's folder holds files ending in ${MODEL_FILES.join(", ")}`,
  });
}

async function companionsIn(folder: string): Promise<string[]> {
  const names: string[] = [];
  for (const name of (await readdir(folder)).sort()) {
    if (name.startsWith(".") || !COMPANIONS.includes(extname(name).toLowerCase())) continue;
    const stats = await stat(join(folder, name)).catch(() => undefined);
    if (stats?.isFile() && stats.size <= LARGEST_COMPANION) names.push(name);
  }
  return names;
}
