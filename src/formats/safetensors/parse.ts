import type { NumberTensor } from "../../tensor/tensor.ts";
import { parseSafetensorsHeader } from "./parse-header.ts";

/**
 * Parses a safetensors file that is all in memory into its tensors by name; their bytes are views, not copied.
 * @param name of the file, for errors
 * @throws FormatError what `parseSafetensorsHeader` throws
 */
export function parseSafetensors(bytes: Uint8Array, name: string): Record<string, NumberTensor> {
  const { tensors } = parseSafetensorsHeader(bytes, { name, size: bytes.byteLength });
  return Object.fromEntries(
    tensors.map((entry): [string, NumberTensor] => {
      const { dtype, shape, offset, length } = entry;
      return [entry.name, { dtype, shape, bytes: bytes.subarray(offset, offset + length) }];
    }),
  );
}
