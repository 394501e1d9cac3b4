import type { MethodDraft, WeightDraft } from "../model/draft.ts";
import { sameName } from "./failure.ts";

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
