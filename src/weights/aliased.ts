import { type WeightSource, type WeightLayout, noSuchWeight } from "./weight-source.ts";

/** A weight of other data, and what is known of it here. */
export interface Alias {
  readonly owner: WeightSource;
  /** What it is called there. */
  readonly key: string;
  readonly layout: WeightLayout;
}

/** Weights of other data, by names of their own. */
export function aliasedWeights(name: string, table: ReadonlyMap<string, Alias>): WeightSource {
  const find = (key: string): Alias => {
    const alias = table.get(key);
    if (!alias) throw noSuchWeight({ name }, key);
    return alias;
  };
  return {
    name,
    keys: () => [...table.keys()],
    layout: (key) => table.get(key)?.layout,
    async data(key, options) {
      const { owner, key: theirs } = find(key);
      return owner.data(theirs, options);
    },
    async loadInto(key, target, options) {
      const { owner, key: theirs } = find(key);
      return owner.loadInto(theirs, target, options);
    },
    stream(key, options) {
      const { owner, key: theirs } = find(key);
      return owner.stream(theirs, options);
    },
    async locate(key) {
      const alias = table.get(key);
      return alias?.owner.locate(alias.key);
    },
    async remote(key) {
      const alias = table.get(key);
      return alias?.owner.remote(alias.key);
    },
  };
}
