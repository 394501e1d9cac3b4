import type { ByteSource } from "../io/byte-source.ts";
import type { MethodDraft, ModelDraft, WeightDraft } from "../model/draft.ts";
import { sameName } from "./failure.ts";
import type { ModelFile } from "./format.ts";

/**
 * Makes methods of files that are a model each, named as the files are without their extension.
 * @param weights of each file
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
 * Reads files that are a model each.
 * @param read finds the weights of a file, by its number, and says what people should know about it
 * @throws FormatError `duplicate` for two files of one name; what `read` throws
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
