import type { ByteSource } from "../io/byte-source.ts";
import type { MethodDraft, ModelDraft, WeightDraft } from "../model/draft.ts";
import { sameName } from "./failure.ts";
import type { ModelFile } from "./format.ts";

/**
 * Makes a method for each file, named after the file without its extension.
 * @param weights the weights of each file
 * @throws FormatError `duplicate` for two files of one name
 */
export function methodPerFile(
  files: readonly { readonly path: string }[],
  weights: readonly (readonly WeightDraft[])[],
): MethodDraft[] {
  const names = new Set<string>();
  return files.map(({ path }, file) => {
    const name = path.replace(/\.[^./]+$/, "") || path;
    if (names.has(name)) {
      throw sameName(path, name);
    }
    names.add(name);
    return { name, file, weights: weights[file] ?? [], constants: [] };
  });
}

/**
 * Reads files, each of which is a model.
 * @param read finds the weights of a file, given its index, and adds notes for people
 * @throws FormatError `duplicate` for two files of one name, and what `read` throws
 */
export async function readPerFile(
  format: string,
  files: readonly ModelFile[],
  read: (source: ByteSource, file: number, notes: string[]) => Promise<WeightDraft[]>,
): Promise<ModelDraft> {
  const notes: string[] = [];
  const weights: WeightDraft[][] = [];
  for (const [file, { source }] of files.entries()) weights.push(await read(source, file, notes));
  const methods = methodPerFile(files, weights);
  const draft = { format, methods, files: files.map(({ path, source }) => ({ path, source })) };
  return notes.length > 0 ? { ...draft, notes } : draft;
}
