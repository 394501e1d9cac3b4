import type { ModelConfig, Weight } from "../model/config.ts";

/** A weight of a model under its name in a refit, and the methods that use it. */
export interface NamedWeight extends Weight {
  /** Name of the weight in each of its methods. */
  readonly uses: readonly { readonly method: string; readonly name: string }[];
}

/**
 * Lists the weights of a model by name: the weight's name if it is the same weight in all methods, else `method/name`.
 * @param qualified use `method/name` for all weights
 */
export function namedWeights(config: ModelConfig, qualified = false): Map<string, NamedWeight> {
  const byName = new Map<string, { readonly method: string; readonly weight: Weight }[]>();
  for (const { name: method, weights } of config.methods) {
    for (const weight of weights) {
      const known = byName.get(weight.name);
      if (known) known.push({ method, weight });
      else byName.set(weight.name, [{ method, weight }]);
    }
  }
  const named = new Map<string, NamedWeight>();
  for (const [name, all] of byName) {
    const [first] = all;
    if (!first) continue;
    const uses = all.map(({ method }) => ({ method, name }));
    const agreed = all.every(({ weight }) => weight.digest === first.weight.digest);
    if (agreed && !qualified) named.set(name, { ...first.weight, uses });
    else {
      for (const { method, weight } of all) {
        named.set(`${method}/${name}`, { ...weight, name: `${method}/${name}`, uses: [{ method, name }] });
      }
    }
  }
  return named;
}
