import { countHolders, sharingOf } from "./align.ts";
import type { FamilyMap } from "./family-map.ts";

/** Number and bytes of distinct weights. */
export interface Tally {
  readonly count: number;
  readonly bytes: number;
}

/** Totals of one model. A weight with several names counts once. */
export interface ModelTotals {
  readonly fileBytes: number;
  readonly weights: Tally;
  /** Weights that every model has. */
  readonly all: Tally;
  /** Weights that another model also has. */
  readonly some: Tally;
  /** Weights that no other model has. */
  readonly own: Tally;
}

/** Totals of a family. */
export interface FamilyTotals {
  readonly fileBytes: number;
  /** Bytes of the store if the map has them, else those of the distinct weights. */
  readonly storedBytes: number;
  /** Bytes in the store besides weights; `undefined` if the map does not have them. */
  readonly programBytes: number | undefined;
  readonly weights: Tally;
  readonly all: Tally;
  readonly some: Tally;
  readonly own: Tally;
  readonly models: readonly ModelTotals[];
}

/** Sums up a family: the size of its files, and its size with every weight stored once. */
export function familyTotals(map: FamilyMap): FamilyTotals {
  const holders = countHolders(map);
  const count = map.models.length;
  const family = new Sums();
  const seen = new Set<string>();
  const models = map.models.map((model) => {
    const sums = new Sums();
    const here = new Set<string>();
    for (const { digest, bytes } of model.weights) {
      if (here.has(digest)) continue;
      here.add(digest);
      const sharing = sharingOf(holders.get(digest) ?? 1, count);
      sums.add(sharing, bytes);
      if (!seen.has(digest)) family.add(sharing, bytes);
      seen.add(digest);
    }
    return { fileBytes: model.fileBytes, ...sums.done() };
  });
  const weights = family.done();
  return {
    fileBytes: map.models.reduce((sum, model) => sum + model.fileBytes, 0),
    storedBytes: map.storedBytes ?? weights.weights.bytes,
    programBytes:
      map.storedBytes === undefined ? undefined : Math.max(0, map.storedBytes - weights.weights.bytes),
    ...weights,
    models,
  };
}

class Sums {
  readonly #sums = {
    all: { count: 0, bytes: 0 },
    some: { count: 0, bytes: 0 },
    own: { count: 0, bytes: 0 },
  };

  add(sharing: "all" | "some" | "own", bytes: number): void {
    this.#sums[sharing].count += 1;
    this.#sums[sharing].bytes += bytes;
  }

  done(): Omit<ModelTotals, "fileBytes"> {
    const { all, some, own } = this.#sums;
    const weights = {
      count: all.count + some.count + own.count,
      bytes: all.bytes + some.bytes + own.bytes,
    };
    return { weights, all, some, own };
  }
}
