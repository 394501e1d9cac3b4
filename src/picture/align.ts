import type { FamilyMap, MapWeight, Sharing } from "./family-map.ts";

/** A weight in its place: one model's version of one column. */
export interface Cell {
  readonly weight: MapWeight;
  readonly sharing: Sharing;
}

/** One weight across the family. */
export interface Column {
  /** Every name it has, in the order of the models; several where the same bytes go by several names. */
  readonly names: readonly string[];
  /** By model; `undefined` where a model has no such weight. */
  readonly cells: readonly (Cell | undefined)[];
  /** Bytes of its largest version. */
  readonly bytes: number;
}

interface Draft {
  readonly names: Set<string>;
  readonly weights: (MapWeight | undefined)[];
}

/**
 * Lines the weights of a family up: by name, in the order of the first model that has them.
 * Names that hold the same bytes wherever a model has both become one column: so do the methods of a model,
 * and one weight in two formats.
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

/** How many models hold each digest, under whatever name. */
export function countHolders(map: FamilyMap): ReadonlyMap<string, number> {
  const holders = new Map<string, number>();
  for (const model of map.models) {
    for (const digest of new Set(model.weights.map((weight) => weight.digest))) {
      holders.set(digest, (holders.get(digest) ?? 0) + 1);
    }
  }
  return holders;
}

/** How a digest held by `count` of `models` models is shared; a model alone shares with nobody. */
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

/** Where models lack some of the names, columns that contradict each other nowhere are the same weight too. */
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
