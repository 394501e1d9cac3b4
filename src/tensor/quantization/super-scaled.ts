import {
  ARITHMETIC,
  type Block,
  float16Above,
  float16At,
  magnitude,
  nearestFloat16,
  setFloat16,
} from "./block.ts";
import { fitStep } from "./fit.ts";
import { type Assigned, assignLevels } from "./levels.ts";

/** Scale × one of 16 six-bit scales × (-4 to 3). */
export const Q3_K: Block = {
  elements: 256,
  bytes: 110,

  decode(bytes, at, out, to) {
    const scale = float16At(bytes, at + 108);
    for (let part = 0; part < 16; part++) {
      const low = ((bytes[at + 96 + (part & 7)] as number) >> (4 * (part >> 3))) & 15;
      const upper = ((bytes[at + 104 + (part & 3)] as number) >> (2 * (part >> 2))) & 3;
      const step = scale * ((low | (upper << 4)) - 32);
      const pairs = at + 32 + 32 * (part >> 3) + 16 * (part & 1);
      const pairShift = part & 6;
      const masks = at + 16 * (part & 1);
      const maskShift = part >> 1;
      for (let index = 0; index < 16; index++) {
        const pair = ((bytes[pairs + index] as number) >> pairShift) & 3;
        // The third bit counts where it is not set: minus four.
        const third = ((bytes[masks + index] as number) >> maskShift) & 1;
        out[to + 16 * part + index] = step * (pair + 4 * third - 4);
      }
    }
  },
};

/** Scale × one of 16 eight-bit scales × (-32 to 31). */
export const Q6_K: Block = {
  elements: 256,
  bytes: 210,

  decode(bytes, at, out, to) {
    const scale = float16At(bytes, at + 208);
    for (let part = 0; part < 16; part++) {
      const step = scale * (((bytes[at + 192 + part] as number) << 24) >> 24);
      const { low, lowShift, high, highShift } = sixBits(at, part);
      for (let index = 0; index < 16; index++) {
        const lower = ((bytes[low + index] as number) >> lowShift) & 15;
        const upper = ((bytes[high + index] as number) >> highShift) & 3;
        out[to + 16 * part + index] = step * ((lower | (upper << 4)) - 32);
      }
    }
  },

  encode(values, from, out, at) {
    const block = values.subarray(from, from + 256);
    const covering = cover(block);
    if (!Number.isFinite(covering.scale)) return false;
    const fitted = fit(block);
    const safe = assign(block, covering);
    const better = assign(block, fitted);
    const chosen = better.squares < safe.squares && better.worst <= boundOf(covering, block);
    if (chosen) write(fitted, better.levels, out, at);
    else write(covering, safe.levels, out, at);
    return true;
  },

  bound: (values) => boundOf(cover(values), values),
};

/** Allowed error of an element, in largest steps of {@link cover}. Half a step would rule out good fits. */
const LATITUDE = 0.75;

interface Scales {
  /** A float16. */
  readonly scale: number;
  /** The factor of the scale for each 16 elements. */
  readonly factors: Int8Array;
}

/**
 * Scales that keep every element within the levels -31 to 31. They are rounded up, so that the error is at most half a
 * step. The fallback for a bad fit.
 */
function cover(block: Float32Array): Scales {
  const steps = Float64Array.from(
    { length: 16 },
    (_, part) => magnitude(block.subarray(16 * part, 16 * part + 16)) / 31,
  );
  const scale = float16Above(Math.max(...steps) / 127);
  return { scale, factors: Int8Array.from(steps, (step) => (scale === 0 ? 0 : Math.ceil(step / scale))) };
}

function boundOf({ scale, factors }: Scales, block: Float32Array): number {
  return scale * Math.max(...factors) * LATITUDE + magnitude(block) * ARITHMETIC;
}

/** Scales of least squared error, as near as float16 and bytes come to them. */
function fit(block: Float32Array): Scales {
  const steps = Float64Array.from({ length: 16 }, (_, part) => fitStep(block, 16 * part, 16, -32));
  let largest = 0;
  for (const step of steps) if (Math.abs(step) > Math.abs(largest)) largest = step;
  const scale = nearestFloat16(largest / -128);
  const factors = Int8Array.from(steps, (step) =>
    scale === 0 ? 0 : Math.max(-128, Math.min(127, Math.round(step / scale))),
  );
  return { scale, factors };
}

function assign(block: Float32Array, { scale, factors }: Scales): Assigned {
  const steps = Float64Array.from(factors, (factor) => scale * factor);
  return assignLevels(block, { steps, offsets: new Float64Array(16), lowest: -32, highest: 31 });
}

function write({ scale, factors }: Scales, levels: Int8Array, out: Uint8Array, at: number): void {
  out.fill(0, at, at + 192);
  for (let part = 0; part < 16; part++) {
    out[at + 192 + part] = factors[part] as number;
    const { low, lowShift, high, highShift } = sixBits(at, part);
    for (let index = 0; index < 16; index++) {
      const level = (levels[16 * part + index] as number) + 32;
      out[low + index] = (out[low + index] as number) | ((level & 15) << lowShift);
      out[high + index] = (out[high + index] as number) | ((level >> 4) << highShift);
    }
  }
  setFloat16(out, at + 208, scale);
}

/** Places of the levels of 16 elements in a block: four bits each, and two bits each. */
function sixBits(
  at: number,
  part: number,
): { low: number; lowShift: number; high: number; highShift: number } {
  return {
    low: at + 64 * (part >> 3) + 16 * (part & 3),
    lowShift: part & 4,
    high: at + 128 + 32 * (part >> 3) + 16 * (part & 1),
    highShift: part & 6,
  };
}
