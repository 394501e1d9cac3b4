import {
  ARITHMETIC,
  type Block,
  float16Above,
  float16At,
  magnitude,
  nearestFloat16,
  setFloat16,
} from "./block.ts";
import { fitAffine } from "./fit.ts";
import { type Assigned, assignLevels } from "./levels.ts";

/** Scale × one of 16 four-bit scales × (0 to 3) - minimum × one of 16 four-bit factors. */
export const Q2_K: Block = {
  elements: 256,
  bytes: 84,

  decode(bytes, at, out, to) {
    const scale = float16At(bytes, at + 80);
    const minimum = float16At(bytes, at + 82);
    for (let part = 0; part < 16; part++) {
      const factors = bytes[at + part] as number;
      const step = scale * (factors & 15);
      const offset = minimum * (factors >> 4);
      const pairs = at + 16 + 32 * (part >> 3) + 16 * (part & 1);
      const shift = part & 6;
      for (let index = 0; index < 16; index++) {
        const level = ((bytes[pairs + index] as number) >> shift) & 3;
        out[to + 16 * part + index] = step * level - offset;
      }
    }
  },
};

/** Scale × one of 8 six-bit scales × (0 to 15) - minimum × one of 8 six-bit factors. */
export const Q4_K: Block = superAffine(false);
/** As Q4_K, with levels up to 31; the fifth bits are stored separately. */
export const Q5_K: Block = superAffine(true);

/**
 * Allowed error of an element, in largest steps of {@link cover}. Half a step would rule out nearly every second fit of
 * normally distributed weights: those cut off the outermost values.
 */
const LATITUDE = 0.75;

/** Of 256 elements; scale and minimum are float16s, the factors are for 32 elements each. */
interface Scales {
  readonly scale: number;
  readonly minimum: number;
  /** From 0 to 63. */
  readonly scaleFactors: Uint8Array;
  readonly minimumFactors: Uint8Array;
}

function superAffine(fifth: boolean): Block {
  const highest = fifth ? 31 : 15;
  const levels = fifth ? 48 : 16;

  const assign = (block: Float32Array, scales: Scales): Assigned =>
    assignLevels(block, {
      steps: Float64Array.from(scales.scaleFactors, (factor) => scales.scale * factor),
      offsets: Float64Array.from(scales.minimumFactors, (factor) => scales.minimum * factor),
      lowest: 0,
      highest,
    });

  return {
    elements: 256,
    bytes: levels + 128,

    decode(bytes, at, out, to) {
      const scale = float16At(bytes, at);
      const minimum = float16At(bytes, at + 2);
      for (let part = 0; part < 8; part++) {
        const step = scale * scaleFactor(bytes, at + 4, part);
        const offset = minimum * minimumFactor(bytes, at + 4, part);
        const pairs = at + levels + 32 * (part >> 1);
        const shift = 4 * (part & 1);
        for (let index = 0; index < 32; index++) {
          const fifthBit = fifth ? ((bytes[at + 16 + index] as number) >> part) & 1 : 0;
          const level = (((bytes[pairs + index] as number) >> shift) & 15) | (fifthBit << 4);
          out[to + 32 * part + index] = step * level - offset;
        }
      }
    },

    encode(values, from, out, at) {
      const block = values.subarray(from, from + 256);
      const covering = cover(block, highest);
      if (!Number.isFinite(covering.scale + covering.minimum)) return false;
      const fitted = fit(block, highest);
      const safe = assign(block, covering);
      const better = assign(block, fitted);
      const chosen = better.squares < safe.squares && better.worst <= boundOf(covering, block);
      const scales = chosen ? fitted : covering;
      setFloat16(out, at, scales.scale);
      setFloat16(out, at + 2, scales.minimum);
      setFactors(out, at + 4, scales);
      setLevels(out, at + 16, chosen ? better.levels : safe.levels, fifth);
      return true;
    },

    bound: (values) => boundOf(cover(values, highest), values),
  };
}

/**
 * Scales that keep every element within the levels. Minimum and scale are rounded up in turn, so that the error is at
 * most half a step. The fallback for a bad fit.
 */
function cover(block: Float32Array, highest: number): Scales {
  const depths = Float64Array.from({ length: 8 }, (_, part) => -extreme(block, part, Math.min, 0));
  const minimum = float16Above(Math.max(...depths) / 63);
  const minimumFactors = roundedUp(depths, minimum);
  const steps = Float64Array.from({ length: 8 }, (_, part) => {
    const top = extreme(block, part, Math.max, Number.NEGATIVE_INFINITY);
    return (top + minimum * (minimumFactors[part] as number)) / highest;
  });
  const scale = float16Above(Math.max(...steps, 0) / 63);
  return { scale, minimum, minimumFactors, scaleFactors: roundedUp(steps, scale) };
}

function boundOf({ scale, scaleFactors }: Scales, block: Float32Array): number {
  return scale * Math.max(...scaleFactors) * LATITUDE + magnitude(block) * ARITHMETIC;
}

/** Scales of least squared error, as near as float16 and six bits come to them. */
function fit(block: Float32Array, highest: number): Scales {
  const parts = Array.from({ length: 8 }, (_, part) => fitAffine(block, 32 * part, 32, highest));
  const steps = Float64Array.from(parts, ({ step }) => step);
  const offsets = Float64Array.from(parts, ({ offset }) => offset);
  const scale = nearestFloat16(Math.max(...steps) / 63);
  const minimum = nearestFloat16(Math.max(...offsets) / 63);
  return { scale, minimum, scaleFactors: rounded(steps, scale), minimumFactors: rounded(offsets, minimum) };
}

/** Least or greatest of the 32 elements of a part, and of the value to start from. */
function extreme(
  block: Float32Array,
  part: number,
  choose: (a: number, b: number) => number,
  start: number,
): number {
  let found = start;
  for (let index = 32 * part; index < 32 * part + 32; index++) found = choose(found, block[index] as number);
  return found;
}

function roundedUp(sizes: Float64Array, unit: number): Uint8Array {
  return Uint8Array.from(sizes, (size) => (unit === 0 ? 0 : Math.ceil(size / unit)));
}

function rounded(sizes: Float64Array, unit: number): Uint8Array {
  return Uint8Array.from(sizes, (size) => (unit === 0 ? 0 : Math.min(63, Math.round(size / unit))));
}

/** Six bits each in twelve bytes: the last four of either kind have their upper two bits above those of the first. */
function scaleFactor(bytes: Uint8Array, at: number, part: number): number {
  if (part < 4) return (bytes[at + part] as number) & 63;
  return ((bytes[at + 4 + part] as number) & 15) | (((bytes[at + part - 4] as number) >> 6) << 4);
}

function minimumFactor(bytes: Uint8Array, at: number, part: number): number {
  if (part < 4) return (bytes[at + 4 + part] as number) & 63;
  return ((bytes[at + 4 + part] as number) >> 4) | (((bytes[at + part] as number) >> 6) << 4);
}

function setFactors(out: Uint8Array, at: number, { scaleFactors, minimumFactors }: Scales): void {
  for (let part = 0; part < 4; part++) {
    const [scale, upperScale] = [scaleFactors[part] as number, scaleFactors[part + 4] as number];
    const [minimum, upperMinimum] = [minimumFactors[part] as number, minimumFactors[part + 4] as number];
    out[at + part] = scale | ((upperScale >> 4) << 6);
    out[at + 4 + part] = minimum | ((upperMinimum >> 4) << 6);
    out[at + 8 + part] = (upperScale & 15) | ((upperMinimum & 15) << 4);
  }
}

/** Two parts share 32 bytes, four bits each; fifth bits, where there are any, go first, one a part in each of 32 bytes. */
function setLevels(out: Uint8Array, at: number, levels: Int8Array, fifth: boolean): void {
  const pairs = fifth ? at + 32 : at;
  out.fill(0, at, pairs);
  for (let part = 0; part < 8; part += 2) {
    for (let index = 0; index < 32; index++) {
      const low = levels[32 * part + index] as number;
      const upper = levels[32 * part + 32 + index] as number;
      out[pairs + 16 * part + index] = (low & 15) | ((upper & 15) << 4);
      if (!fifth) continue;
      out[at + index] = (out[at + index] as number) | ((low >> 4) << part) | ((upper >> 4) << (part + 1));
    }
  }
}
