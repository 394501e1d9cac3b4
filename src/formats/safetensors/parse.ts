import type { NumberTensor } from "../../tensor/tensor.ts";
import { parseSafetensorsHeader } from "./parse-header.ts";

/**
 * Parses a safetensors file in memory into its tensors by name. Their bytes are views, not copies.
 * @param name names the file in errors
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
