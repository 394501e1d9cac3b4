import { LinkError } from "../errors.ts";
import type { TermPlan } from "./factors.ts";
import type { Weight } from "../model/config.ts";
import type { Digest } from "../tensor/digest.ts";
import type { StoredModel } from "../model/stored-model.ts";
import { useKey, type WeightUse } from "../store/patched-config.ts";

/** A weight to change, with all its uses. */
export interface PlannedWeight {
  readonly weight: Weight;
  readonly uses: readonly WeightUse[];
  /** Terms in the order in which they are added. */
  readonly terms: readonly TermPlan[];
}

/**
 * Groups terms by the new weight that they make. If methods share a weight, and a LoRA finds it in one method only, the
 * other methods use the new weight too.
 * @param found terms with their weights, in the order in which they are added
 * @throws LinkError `unsupported` if a method has several weights of the same bytes, and the target is ambiguous
 */
export function planMerge(
  model: StoredModel,
  found: readonly {
    readonly use: { readonly method: string; readonly weight: Weight };
    readonly term: TermPlan;
  }[],
): PlannedWeight[] {
  const byUse = new Map<string, { use: WeightUse; weight: Weight; terms: TermPlan[] }>();
  for (const { use, term } of found) {
    const { method, weight } = use;
    const key = useKey({ method, name: weight.name });
    const entry = byUse.get(key) ?? { use: { method, name: weight.name }, weight, terms: [] };
    entry.terms.push(term);
    byUse.set(key, entry);
  }
  const planned = new Map<string, { weight: Weight; uses: WeightUse[]; terms: TermPlan[] }>();
  for (const { use, weight, terms } of byUse.values()) {
    const key = JSON.stringify([weight.digest, weight.dtype, weight.shape, terms.map(termKey)]);
    const entry = planned.get(key) ?? { weight, uses: [], terms };
    entry.uses.push(use);
    planned.set(key, entry);
  }
  const all = [...planned.values()];
  for (const each of all) each.uses.push(...followers(model, each, all));
  return all;
}

/** Finds uses of the same bytes in methods where the LoRAs found no use. */
function followers(model: StoredModel, one: PlannedWeight, all: readonly PlannedWeight[]): WeightUse[] {
  const { digest, name } = one.weight;
  const alike = all.filter((each) => each.weight.digest === digest);
  const found = new Set(alike.flatMap((each) => each.uses.map((use) => use.method)));
  const others = model.config.methods
    .filter((method) => !found.has(method.name))
    .map((method) => ({ method: method.name, weights: withDigest(method.weights, digest) }))
    .filter(({ weights }) => weights.length > 0);
  if (others.length === 0) return [];
  const untouched = model.config.methods
    .filter((method) => found.has(method.name))
    .some((method) => withDigest(method.weights, digest).length > usesIn(alike, method.name));
  if (alike.length > 1 || untouched) {
    throw new LinkError(
      "unsupported",
      `Cannot merge into "${name}": method "${others[0]?.method}" has several weights of the same bytes, and the target is ambiguous`,
      { tensor: name, digest },
    );
  }
  return others.flatMap(({ method, weights }) => weights.map((weight) => ({ method, name: weight.name })));
}

function withDigest(weights: readonly Weight[], digest: Digest): Weight[] {
  return weights.filter((weight) => weight.digest === digest);
}

function usesIn(planned: readonly PlannedWeight[], method: string): number {
  return planned.flatMap((each) => each.uses).filter((use) => use.method === method).length;
}

function termKey({ adapter, pair, transposed, scale }: TermPlan): unknown[] {
  const factors = [pair.left, pair.right].map(({ weight, transposed: turned }) => [weight.digest, turned]);
  return [adapter.digest, ...factors, transposed, scale];
}
