import { noSuchWeight, type WeightLayout, type WeightSource } from "./weight-source.ts";

/** A weight of another source, and its layout. */
export interface Alias {
  readonly owner: WeightSource;
  /** Key of the weight in the other source. */
  readonly key: string;
  readonly layout: WeightLayout;
}

/** Makes a source of weights of other sources under new keys. */
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
