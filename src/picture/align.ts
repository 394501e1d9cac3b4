import type { FamilyMap, MapWeight, Sharing } from "./family-map.ts";

/** A cell: one model's version of the weight of a column. */
export interface Cell {
  readonly weight: MapWeight;
  readonly sharing: Sharing;
}

/** One weight across the family. */
export interface Column {
  /** All its names, in the order of the models; several if equal bytes have several names. */
  readonly names: readonly string[];
  /** Cells by model; `undefined` for a model without this weight. */
  readonly cells: readonly (Cell | undefined)[];
  /** Size of its largest version in bytes. */
  readonly bytes: number;
}

interface Draft {
  readonly names: Set<string>;
  readonly weights: (MapWeight | undefined)[];
}

/**
 * Aligns the weights of a family by name, in the order of the first model that has them. Names become one column if they
 * have equal bytes in every model that has both, as with the methods of a model, or with one weight in two formats.
 */
export function alignWeights(map: FamilyMap): readonly Column[] {
  const holders = countHolders(map);
  const drafts = joinFitting(joinAlike(byName(map)));
  return drafts.map(({ names, weights }) => ({
    names: [...names],
    cells: judge(weights, holders, map.models.length),
    bytes: weights.reduce((most, weight) => Math.max(most, weight?.bytes ?? 0), 0),
  }));
}

/** Counts the models that have each digest, under any name. */
export function countHolders(map: FamilyMap): ReadonlyMap<string, number> {
  const holders = new Map<string, number>();
  for (const model of map.models) {
    for (const digest of new Set(model.weights.map((weight) => weight.digest))) {
      holders.set(digest, (holders.get(digest) ?? 0) + 1);
    }
  }
  return holders;
}

/** Sharing of a digest that `count` of `models` models have. A single model shares no weight. */
export function sharingOf(count: number, models: number): "all" | "some" | "own" {
  if (count <= 1) return "own";
  return count === models ? "all" : "some";
}

function byName(map: FamilyMap): Draft[] {
  const drafts = new Map<string, Draft>();
  for (const [row, model] of map.models.entries()) {
    for (const weight of model.weights) {
      let draft = drafts.get(weight.name);
      if (draft === undefined) {
        draft = { names: new Set([weight.name]), weights: map.models.map(() => undefined) };
        drafts.set(weight.name, draft);
      }
      draft.weights[row] = weight;
    }
  }
  return [...drafts.values()];
}

function joinAlike(drafts: readonly Draft[]): Draft[] {
  const joined = new Map<string, Draft>();
  for (const draft of drafts) {
    const pattern = JSON.stringify(draft.weights.map((weight) => weight?.digest ?? null));
    const first = joined.get(pattern);
    if (first === undefined) joined.set(pattern, draft);
    else for (const name of draft.names) first.names.add(name);
  }
  return [...joined.values()];
}

/** Merges columns that no model contradicts, if models have only some of the names. */
function joinFitting(drafts: readonly Draft[]): Draft[] {
  const firstWith = new Map<string, Draft>();
  const kept: Draft[] = [];
  for (const draft of drafts) {
    const home = draft.weights
      .map((weight) => weight && firstWith.get(weight.digest))
      .find((other) => other !== undefined && fits(other, draft));
    for (const [row, weight] of draft.weights.entries()) {
      if (weight === undefined) continue;
      if (home !== undefined) home.weights[row] ??= weight;
      if (!firstWith.has(weight.digest)) firstWith.set(weight.digest, home ?? draft);
    }
    if (home === undefined) kept.push(draft);
    else for (const name of draft.names) home.names.add(name);
  }
  return kept;
}

function fits(a: Draft, b: Draft): boolean {
  return a.weights.every((weight, row) => {
    const other = b.weights[row];
    return weight === undefined || other === undefined || weight.digest === other.digest;
  });
}

function judge(
  weights: readonly (MapWeight | undefined)[],
  holders: ReadonlyMap<string, number>,
  models: number,
): (Cell | undefined)[] {
  let version: string | undefined;
  return weights.map((weight) => {
    if (weight === undefined) return undefined;
    const sharing = sharingOf(holders.get(weight.digest) ?? 1, models);
    if (sharing !== "some") return { weight, sharing };
    version ??= weight.digest;
    return { weight, sharing: weight.digest === version ? "some" : "variant" };
  });
}
