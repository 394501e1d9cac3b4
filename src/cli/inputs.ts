import { parseStrictJson } from "../encodings/json.ts";
import type { Signature } from "../engines/engine.ts";
import { UsageError } from "../errors.ts";
import { inputFromJson } from "../operations/tensor-files/input-from-json.ts";
import { readTensors } from "../operations/tensor-files/read-tensors.ts";
import type { Tensor } from "../tensor/tensor.ts";

/**
 * Reads inputs given as `FILE` or `NAME=FILE`, where a file's only tensor is for the input of that name.
 * @throws what {@link readTensors} throws
 */
export async function readInputFile(argument: string, signature: Signature): Promise<Record<string, Tensor>> {
  const [, name, path = argument] = /^([^=/\\]+)=(.+)$/s.exec(argument) ?? [];
  return readTensors(path, signature, { name });
}

/**
 * Parses one input given as `NAME=JSON`.
 * @throws UsageError, FormatError
 */
export function parseInput(text: string, signature: Signature): Record<string, Tensor> {
  const at = text.indexOf("=");
  if (at <= 0) {
    throw new UsageError("usage", `Cannot read input "${text}"`, {
      hint: "Write NAME=JSON, such as input_ids=[[1,2,3]]",
    });
  }
  const name = text.slice(0, at);
  return { [name]: inputFromJson(parseStrictJson(text.slice(at + 1), `--input ${name}`), name, signature) };
}
