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

/** Scale × (-8 to 7), 32 to a scale. */
export const Q4_0: Block = scaled(false);
/** Scale × (-16 to 15), 32 to a scale; the fifth bits are stored separately. */
export const Q5_0: Block = scaled(true);

/** Scale × (-127 to 127), 32 to a scale. */
export const Q8_0: Block = {
  elements: 32,
  bytes: 34,

  decode(bytes, at, out, to) {
    const scale = float16At(bytes, at);
    for (let index = 0; index < 32; index++)
      out[to + index] = scale * (((bytes[at + 2 + index] as number) << 24) >> 24);
  },

  encode(values, from, out, at) {
    let largest = 0;
    for (let index = 0; index < 32; index++)
      largest = Math.max(largest, Math.abs(values[from + index] as number));
    const scale = Math.fround(largest / 127);
    const inverse = inverseOf(scale);
    for (let index = 0; index < 32; index++) {
      const level = Math.fround((values[from + index] as number) * inverse);
      // Ties round away from zero. The sum is a double, so it is not rounded before truncation.
      out[at + 2 + index] = level < 0 ? level - 0.5 : level + 0.5;
    }
    return setFloat16(out, at, scale);
  },

  bound(values) {
    const largest = magnitude(values);
    const scale = largest / 127;
    return scale / 2 + 127 * Math.abs(scale - nearestFloat16(scale)) + largest * ARITHMETIC;
  },
};

/**
 * The element of the largest magnitude gets the lowest level; the scale has its sign. There is no opposite level, so a
 * value there may have an error of a whole step; all others of half a step.
 */
function scaled(fifth: boolean): Block {
  const middle = fifth ? 16 : 8;
  const levels = fifth ? 6 : 2;
  return {
    elements: 32,
    bytes: levels + 16,

    decode(bytes, at, out, to) {
      const scale = float16At(bytes, at);
      const high = fifth ? highBits(bytes, at + 2) : 0;
      for (let index = 0; index < 16; index++) {
        const pair = bytes[at + levels + index] as number;
        out[to + index] = scale * (((pair & 15) | (((high >>> index) & 1) << 4)) - middle);
        out[to + index + 16] = scale * (((pair >> 4) | (((high >>> (index + 16)) & 1) << 4)) - middle);
      }
    },

    encode(values, from, out, at) {
      let largest = values[from] as number;
      for (let index = 1; index < 32; index++) {
        const value = values[from + index] as number;
        if (Math.abs(value) > Math.abs(largest)) largest = value;
      }
      const scale = Math.fround(largest / -middle);
      const inverse = inverseOf(scale);
      let high = 0;
      for (let index = 0; index < 16; index++) {
        const low = level(values[from + index] as number, inverse, middle);
        const upper = level(values[from + index + 16] as number, inverse, middle);
        out[at + levels + index] = (low & 15) | (upper << 4);
        high |= ((low >> 4) << index) | ((upper >> 4) << (index + 16));
      }
      if (fifth) setHighBits(out, at + 2, high);
      return setFloat16(out, at, scale);
    },

    bound(values) {
      const largest = magnitude(values);
      const scale = largest / middle;
      let [above, below] = [0, 0];
      for (const value of values) {
        above = Math.max(above, value);
        below = Math.max(below, -value);
      }
      const past = Math.min(above, below) - (middle - 1) * scale;
      // If both ends have the same magnitude, either may set the scale.
      return (
        Math.max(scale / 2, past) + middle * Math.abs(scale - nearestFloat16(scale)) + largest * ARITHMETIC
      );
    },
  };
}

function level(value: number, inverse: number, middle: number): number {
  const shifted = Math.fround(Math.fround(value * inverse) + (middle + 0.5));
  return Math.min(2 * middle - 1, shifted | 0);
}
