import { FormatError } from "../../errors.ts";
import { type Block, magnitude } from "./block.ts";
import type { Codec } from "./codec.ts";

/** Codec of a quantized type: its blocks end to end. */
export function inBlocks(dtype: string, block: Block): Codec {
  const { elements, bytes: size, encode, bound } = block;
  return {
    blockElements: elements,
    blockBytes: size,
    decode(bytes, out) {
      for (let index = 0; index * size < bytes.length; index++)
        block.decode(bytes, index * size, out, index * elements);
    },
    ...(encode && {
      encode(values: Float32Array, out: Uint8Array) {
        refuseNonFinite(dtype, values);
        for (let index = 0; index * elements < values.length; index++) {
          const from = index * elements;
          if (encode(values, from, out, index * size)) continue;
          const largest = magnitude(values.subarray(from, from + elements));
          throw new FormatError(
            "out-of-range",
            `Cannot encode the block at element ${from} as ${dtype}: a float16 scale does not reach ${largest}`,
          );
        }
      },
    }),
    ...(bound && { bound }),
  };
}

function refuseNonFinite(dtype: string, values: Float32Array): void {
  for (let index = 0; index < values.length; index++) {
    if (Number.isFinite(values[index])) continue;
    throw new FormatError(
      "out-of-range",
      `Cannot encode ${values[index]} at element ${index} as ${dtype}: its block has one scale for all`,
    );
  }
}
