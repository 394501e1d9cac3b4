import type { ModelConfig, Weight } from "../model/config.ts";

/** A weight of a model by the name that a refit knows it under, and the methods that have it. */
export interface NamedWeight extends Weight {
  /** Its name in each of its methods. */
  readonly uses: readonly { readonly method: string; readonly name: string }[];
}

/**
 * The weights of a model by name: that of the method where all methods mean the same by it, else `method/name`.
 * @param qualified every name with its method
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
