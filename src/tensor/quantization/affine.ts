import {
  ARITHMETIC,
  type Block,
  float16At,
  inverseOf,
  magnitude,
  nearestFloat16,
  setFloat16,
} from "./block.ts";
import { highBits, setHighBits } from "./high-bits.ts";

/** Minimum + scale × (0 to 15), 32 to a scale. */
export const Q4_1: Block = affine(false);
/** Minimum + scale × (0 to 31), 32 to a scale; the fifth bits are stored separately. */
export const Q5_1: Block = affine(true);

function affine(fifth: boolean): Block {
  const top = fifth ? 31 : 15;
  const levels = fifth ? 8 : 4;
  return {
    elements: 32,
    bytes: levels + 16,

    decode(bytes, at, out, to) {
      const scale = float16At(bytes, at);
      const minimum = float16At(bytes, at + 2);
      const high = fifth ? highBits(bytes, at + 4) : 0;
      for (let index = 0; index < 16; index++) {
        const pair = bytes[at + levels + index] as number;
        out[to + index] = scale * ((pair & 15) | (((high >>> index) & 1) << 4)) + minimum;
        out[to + index + 16] = scale * ((pair >> 4) | (((high >>> (index + 16)) & 1) << 4)) + minimum;
      }
    },

    encode(values, from, out, at) {
      const [minimum, maximum] = rangeOf(values, from);
      const scale = Math.fround(Math.fround(maximum - minimum) / top);
      const inverse = inverseOf(scale);
      let high = 0;
      for (let index = 0; index < 16; index++) {
        const low = level(values[from + index] as number, minimum, inverse, top);
        const upper = level(values[from + index + 16] as number, minimum, inverse, top);
        out[at + levels + index] = (low & 15) | (upper << 4);
        high |= ((low >> 4) << index) | ((upper >> 4) << (index + 16));
      }
      if (fifth) setHighBits(out, at + 4, high);
      return setFloat16(out, at, scale) && setFloat16(out, at + 2, minimum);
    },

    bound(values) {
      const [minimum, maximum] = rangeOf(values, 0);
      const scale = (maximum - minimum) / top;
      return (
        scale / 2 +
        top * Math.abs(scale - nearestFloat16(scale)) +
        Math.abs(minimum - nearestFloat16(minimum)) +
        magnitude(values) * ARITHMETIC
      );
    },
  };
}

function rangeOf(values: Float32Array, from: number): [minimum: number, maximum: number] {
  let minimum = values[from] as number;
  let maximum = minimum;
  for (let index = 1; index < 32; index++) {
    const value = values[from + index] as number;
    if (value < minimum) minimum = value;
    if (value > maximum) maximum = value;
  }
  return [minimum, maximum];
}

function level(value: number, minimum: number, inverse: number, top: number): number {
  const scaled = Math.fround(Math.fround(value - minimum) * inverse);
  return Math.min(top, Math.fround(scaled + 0.5) | 0);
}
