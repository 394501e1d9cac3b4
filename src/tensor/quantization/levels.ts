/** The levels of a block: element = step × level - offset, with a step and an offset for each part. */
export interface Cut {
  /** One per part; parts have equal size. */
  readonly steps: Float64Array;
  readonly offsets: Float64Array;
  readonly lowest: number;
  readonly highest: number;
}

/** The result of {@link assignLevels}. */
export interface Assigned {
  /** Nearest level of each element. */
  readonly levels: Int8Array;
  /** Largest error of an element. */
  readonly worst: number;
  /** Sum of all squared errors. */
  readonly squares: number;
}

/** Assigns the nearest level to each element of a block. */
export function assignLevels(block: Float32Array, { steps, offsets, lowest, highest }: Cut): Assigned {
  const levels = new Int8Array(block.length);
  const size = block.length / steps.length;
  let worst = 0;
  let squares = 0;
  for (let part = 0; part < steps.length; part++) {
    const step = steps[part] as number;
    const offset = offsets[part] as number;
    const inverse = step === 0 ? 0 : 1 / step;
    for (let index = part * size; index < (part + 1) * size; index++) {
      const value = block[index] as number;
      const level = nearestLevel((value + offset) * inverse, lowest, highest);
      const apart = Math.abs(step * level - offset - value);
      levels[index] = level;
      if (apart > worst) worst = apart;
      squares += apart * apart;
    }
  }
  return { levels, worst, squares };
}

/** Nearest whole number from the lowest to the highest. */
export function nearestLevel(value: number, lowest: number, highest: number): number {
  if (value <= lowest) return lowest;
  if (value >= highest) return highest;
  // Truncation is cheap, and rounds down from 0 up.
  return ((value - lowest + 0.5) | 0) + lowest;
}
