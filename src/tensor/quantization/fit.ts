import { nearestLevel } from "./levels.ts";

/** Offsets to the number of steps in a part's range, each of which is tried. */
const SPREAD: readonly number[] = [-0.9, -0.7, -0.5, -0.3, -0.1, 0, 0.1, 0.3, 0.5, 0.7, 0.9];

/** A fit of a part: step × level - offset. */
export interface Affine {
  readonly step: number;
  /** From 0 up. */
  readonly offset: number;
}

/**
 * Finds the step and offset of the least squared error over a few starts: each assigns a level to every element, and
 * the best line for those levels is known.
 * @param highest levels are 0 to this one
 */
export function fitAffine(block: Float32Array, from: number, size: number, highest: number): Affine {
  let minimum = 0;
  let maximum = Number.NEGATIVE_INFINITY;
  let sum = 0;
  for (let index = from; index < from + size; index++) {
    const value = block[index] as number;
    minimum = Math.min(minimum, value);
    maximum = Math.max(maximum, value);
    sum += value;
  }
  let best: Affine = { step: 0, offset: -minimum };
  if (maximum <= minimum) return best;
  let gained = Number.NEGATIVE_INFINITY;
  for (const spread of SPREAD) {
    const inverse = (highest + spread) / (maximum - minimum);
    let levels = 0;
    let squares = 0;
    let product = 0;
    for (let index = from; index < from + size; index++) {
      const value = block[index] as number;
      const level = nearestLevel((value - minimum) * inverse, 0, highest);
      levels += level;
      squares += level * level;
      product += level * value;
    }
    const spreadOut = size * squares - levels * levels;
    if (squares === 0) continue;
    let step = spreadOut > 0 ? (size * product - levels * sum) / spreadOut : 0;
    let offset = (step * levels - sum) / size;
    if (spreadOut <= 0 || offset < 0) {
      offset = 0;
      step = product / squares;
    }
    // The reduction of the squared error, compared to all zeros.
    const gain = step * product - offset * sum;
    if (step <= 0 || gain <= gained) continue;
    gained = gain;
    best = { step, offset };
  }
  return best;
}

/**
 * Finds the step of the least squared error over a few starts, each of which puts the element of the largest magnitude
 * near the lowest level. The step is negative if that element is positive.
 * @param lowest levels are this one to -lowest - 1
 */
export function fitStep(block: Float32Array, from: number, size: number, lowest: number): number {
  let largest = 0;
  for (let index = from; index < from + size; index++) {
    const value = block[index] as number;
    if (Math.abs(value) > Math.abs(largest)) largest = value;
  }
  if (largest === 0) return 0;
  let best = 0;
  let gained = 0;
  for (const spread of SPREAD) {
    const inverse = (lowest + spread) / largest;
    let squares = 0;
    let product = 0;
    for (let index = from; index < from + size; index++) {
      const value = block[index] as number;
      const level = nearestLevel(value * inverse, lowest, -lowest - 1);
      squares += level * level;
      product += level * value;
    }
    const gain = (product * product) / squares;
    if (!(gain > gained)) continue;
    gained = gain;
    best = product / squares;
  }
  return best;
}
