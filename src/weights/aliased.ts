import { noSuchWeight, type WeightLayout, type WeightSource } from "./weight-source.ts";

/** A weight of another source, and what is known of it here. */
export interface Alias {
  readonly owner: WeightSource;
  /** Its name there. */
  readonly key: string;
  readonly layout: WeightLayout;
}

/** Weights of other sources, by names of their own. */
export function aliasedWeights(name: string, table: ReadonlyMap<string, Alias>): WeightSource {
  return {
    name,
    keys: () => [...table.keys()],
    layout: (key) => table.get(key)?.layout,
    async open(key, options) {
      const alias = table.get(key);
      if (!alias) throw noSuchWeight({ name }, key);
      return alias.owner.open(alias.key, options);
    },
  };
}
