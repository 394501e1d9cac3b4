import { FormatError } from "../../errors.ts";
import { narrowBfloat16, narrowFloat16, widenBfloat16, widenFloat16 } from "../float16.ts";
import { magnitude } from "./block.ts";
import type { Codec } from "./codec.ts";

export const FLOAT32: Codec = {
  blockElements: 1,
  blockBytes: 4,
  decode(bytes, out) {
    bytesOf(out).set(bytes);
  },
  encode(values, out) {
    out.set(bytesOf(values));
  },
  bound: () => 0,
};

export const FLOAT16: Codec = {
  blockElements: 1,
  blockBytes: 2,
  decode: widenFloat16,
  encode(values, out) {
    // Halfway between the largest value, 65504, and the next one, values round up to infinity.
    refuseFrom(65520, "float16", values);
    narrowFloat16(values, out);
  },
  bound: (values) => Math.max(magnitude(values) * 2 ** -11, 2 ** -25),
};

export const BFLOAT16: Codec = {
  blockElements: 1,
  blockBytes: 2,
  decode: widenBfloat16,
  encode(values, out) {
    refuseFrom(2 ** 128 - 2 ** 119, "bfloat16", values);
    narrowBfloat16(values, out);
  },
  bound: (values) => Math.max(magnitude(values) * 2 ** -8, 2 ** -134),
};

/** Decodes only: float32 does not hold every float64. */
export const FLOAT64: Codec = {
  blockElements: 1,
  blockBytes: 8,
  decode(bytes, out) {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    for (let index = 0; index < out.length; index++) out[index] = view.getFloat64(8 * index, true);
  },
};

function bytesOf(values: Float32Array): Uint8Array {
  return new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
}

function refuseFrom(limit: number, dtype: string, values: Float32Array): void {
  for (let index = 0; index < values.length; index++) {
    const size = Math.abs(values[index] as number);
    if (size < limit || size === Number.POSITIVE_INFINITY || Number.isNaN(size)) continue;
    throw new FormatError(
      "out-of-range",
      `Cannot encode ${values[index]} at element ${index} as ${dtype}: it would become infinity`,
    );
  }
}
