import type { ByteSource, ReadOptions } from "../../io/byte-source.ts";
import { hexCase } from "../../io/hex.ts";
import type { MethodDraft, ModelDraft, WeightDraft } from "../../model/draft.ts";
import type { ModelFile, ModelFolder } from "../format.ts";
import { hasBytecode, type MlirBytecode, readBytecode } from "./bytecode.ts";
import { type MlirText, readMlirText, textBlobs } from "./text.ts";
import { plainTensor, type TextType } from "./text-types.ts";
import { detachableBlobs } from "./thin-bytecode.ts";

/** Digits of a weight that are checked for letters: so many random digits always contain one. */
const DIGITS = 4096;

/**
 * Reads MLIR as models: a method for each file, a weight for each blob that `dense_resource` names. Of bytecode,
 * headers and tables are read only; it has no types of blobs, so they are plain bytes. A text is read completely; its
 * weights are hexadecimal, and have the type in the program if it is unique.
 * @throws FormatError with file, resource and offset
 */
export async function readMlir(
  files: readonly ModelFile[],
  _folder: ModelFolder,
  options: ReadOptions = {},
): Promise<ModelDraft> {
  const methods: MethodDraft[] = [];
  for (const [file, { path, source }] of files.entries()) {
    // A file with the extension of bytecode is never a text, even if it is empty.
    const bytecode = /\.mlirbc$/i.test(path) || (await hasBytecode(source, options));
    const weights = bytecode
      ? bytecodeWeights(await readBytecode(source, options), file)
      : await textWeights(await readMlirText(source, options), file, options);
    methods.push(methodOf(path, file, weights));
  }
  return { format: "mlir", methods, files: files.map(({ path, source }) => ({ path, source })) };
}

/** The model of one file with the given weights. */
export function mlirDraft(path: string, source: ByteSource, weights: readonly WeightDraft[]): ModelDraft {
  return { format: "mlir", methods: [methodOf(path, 0, weights)], files: [{ path, source }] };
}

function methodOf(path: string, file: number, weights: readonly WeightDraft[]): MethodDraft {
  return { name: path.replace(/\.mlir(bc)?$/i, ""), file, weights, constants: [] };
}

/** The weights of parsed bytecode. */
export function bytecodeWeights(bytecode: MlirBytecode, file: number): WeightDraft[] {
  return detachableBlobs(bytecode).map(({ key, alignment, offset, length }) => {
    return { name: key, dtype: "uint8", shape: [length], alignment, at: { file, offset, length } };
  });
}

/** The weights of a parsed text. */
export async function textWeights(
  text: MlirText,
  file: number,
  options: ReadOptions,
): Promise<WeightDraft[]> {
  const types = new Map<string, TextType | undefined>();
  // A resource with several types is plain bytes.
  for (const { key, type } of text.uses) if (type) types.set(key, types.has(key) ? undefined : type);
  const weights: WeightDraft[] = [];
  for (const { key, alignment, offset, length } of await textBlobs(text, options)) {
    const plain = plainTensor(types.get(key), length) ?? { dtype: "uint8", shape: [length] };
    const hex = hexCase(await text.source.read(offset, Math.min(DIGITS, length * 2), options));
    weights.push({ name: key, ...plain, alignment, at: { file, offset, length: length * 2, hex } });
  }
  return weights;
}
