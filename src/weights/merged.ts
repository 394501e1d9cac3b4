import type { Digest } from "../tensor/digest.ts";
import { type Alias, aliasedWeights } from "./aliased.ts";
import { type HashOptions, hashWeight } from "./hash-weight.ts";
import type { WeightSource, WeightLayout } from "./weight-source.ts";
import { type MismatchedWeight, WeightMismatchError } from "./weight-mismatch-error.ts";
import { sameLayout } from "../tensor/tensor-layout.ts";

/**
 * Makes one source of several: a foundation and an adapter, or the data files of a program. Several sources may have a
 * key if its weight is equal in all of them. Unknown digests of such weights are computed, and are part of the result.
 * The bytes come from the first source with the key.
 * @throws WeightMismatchError `mismatch`, with every key that differs between sources; the errors of the sources
 */
export async function mergeWeightSources(
  maps: readonly WeightSource[],
  options: HashOptions,
): Promise<WeightSource> {
  const table = new Map<string, Alias>();
  const mismatched: MismatchedWeight[] = [];
  for (const data of maps) {
    for (const key of data.keys()) {
      const layout = data.layout(key) as WeightLayout;
      const known = table.get(key);
      if (!known) {
        table.set(key, { owner: data, key, layout });
        continue;
      }
      const same = sameLayout(known.layout, layout);
      const digests: [Digest | undefined, Digest | undefined] = same
        ? [await digestOf(known, options), await digestOf({ owner: data, key, layout }, options)]
        : [known.layout.digest, layout.digest];
      if (same) table.set(key, { ...known, layout: { ...known.layout, digest: digests[0] } });
      if (same && digests[0] === digests[1]) continue;
      mismatched.push({
        name: key,
        sides: [
          { ...claimOf(known), digest: digests[0] },
          { ...claimOf({ owner: data, key, layout }), digest: digests[1] },
        ],
      });
    }
  }
  const name = maps.map((data) => data.name).join(" + ");
  if (mismatched.length > 0) {
    throw new WeightMismatchError(`merge "${name}"`, { missing: [], mismatched, unused: [] });
  }
  return aliasedWeights(name, table);
}

function claimOf({ owner, layout: { dtype, shape } }: Alias): Omit<MismatchedWeight["sides"][0], "digest"> {
  return { source: owner.name, dtype, shape };
}

async function digestOf({ owner, key, layout }: Alias, options: HashOptions): Promise<Digest> {
  return layout.digest ?? (await hashWeight(owner, key, options));
}
