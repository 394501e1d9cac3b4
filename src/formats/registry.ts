import type { ReadOptions } from "../io/byte-source.ts";
import { createRegistry, type FormatRegistry } from "./create-registry.ts";
import { executorch } from "./executorch/format.ts";
import type { Format, ModelFile } from "./format.ts";
import { gguf } from "./gguf/format.ts";
import { irpa } from "./irpa/format.ts";
import { mlc } from "./mlc/format.ts";
import { mlir } from "./mlir/format.ts";
import { numpy } from "./npy/format.ts";
import { onnx } from "./onnx/format.ts";
import { pytorch } from "./pytorch/format.ts";
import { safetensors } from "./safetensors/format.ts";
import { tvmParams } from "./tvm-params/format.ts";

/** The formats of tare. The only list: a new format is its folder, a line here, and a row in docs/formats.md. */
export const FORMATS: FormatRegistry = createRegistry([
  executorch,
  gguf,
  irpa,
  mlc,
  mlir,
  numpy,
  onnx,
  pytorch,
  safetensors,
  tvmParams,
]);

/** Extensions and whole names of model files, for messages and help. */
export const MODEL_FILES: readonly string[] = FORMATS.modelFiles;

/** Extensions of files that often accompany a model: inputs, outputs, the states of optimizers. */
export const SIDE_EXTENSIONS: readonly string[] = FORMATS.sideExtensions;

/** Whether a file is a model, by its name. */
export function isModelFile(path: string): boolean {
  return FORMATS.isModelFile(path);
}

/**
 * The format of a file, by its first bytes, else by its name.
 * @returns `undefined` if neither tells it
 * @throws SourceError
 */
export async function recognizeFormat(
  file: ModelFile,
  options: ReadOptions = {},
): Promise<Format | undefined> {
  return FORMATS.recognize(file, options);
}

/** The format of a stored model, by its id. */
export function formatById(id: string): Format | undefined {
  return FORMATS.byId(id);
}
