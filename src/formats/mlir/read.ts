import type { ReadOptions } from "../../bytes/byte-source.ts";
import type { MethodDraft, ModelDraft, WeightDraft } from "../../model/draft.ts";
import type { Format, ModelFile, ModelFolder } from "../format.ts";
import { readBytecode } from "./bytecode.ts";
import { detachableBlobs } from "./thin-bytecode.ts";

export const mlir: Format = { id: "mlir", extensions: [".mlirbc"], read: readMlir };

/**
 * Reads MLIR bytecode as models: a method for each file, a weight for each blob that `dense_resource` names. Only heads
 * and tables are read. The file does not say of what type a blob is: it is a list of bytes.
 * @throws FormatError with file, resource and offset
 */
export async function readMlir(
  files: readonly ModelFile[],
  _folder: ModelFolder,
  options: ReadOptions = {},
): Promise<ModelDraft> {
  const methods: MethodDraft[] = [];
  for (const [file, { path, source }] of files.entries()) {
    const blobs = detachableBlobs(await readBytecode(source, options));
    const weights = blobs.map(({ key, offset, length }): WeightDraft => {
      return { name: key, dtype: "uint8", shape: [length], at: { file, offset, length } };
    });
    methods.push({ name: path.replace(/\.mlirbc$/i, ""), file, weights, constants: [] });
  }
  return { format: "mlir", methods, files: files.map(({ path, source }) => ({ path, source })) };
}
