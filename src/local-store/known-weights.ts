import type { Weight } from "../model/config.ts";
import type { Digest } from "../tensor/digest.ts";
import { type Descriptor, type Location, MediaType } from "../model/manifest.ts";
import type { StoredModel } from "../model/stored-model.ts";
import { listTags } from "./tags.ts";
import type { StorePaths } from "./store-paths.ts";
import { isWholeSync } from "./commit-blob.ts";
import { readStoredModel } from "./read-model.ts";

/** Namesakes compared by their first bytes before a large weight is written: more would cost more than they save. */
const MAX_NAMESAKES = 64;

/** What the store's models have, as far as an add can use it. */
export interface KnownWeights {
  /** Weights that lie inside shards: where, and the shard's layer. */
  readonly inside: ReadonlyMap<Digest, { readonly location: Location; readonly layer: Descriptor }>;
  /** Where weights of the same name, dtype and shape lie: a fine-tune changed few of them. */
  namesakes(weight: Pick<Weight, "name" | "dtype" | "shape">): readonly Location[];
}

/** Looks through the models of a store; those that cannot be read are left to `verify`. */
export async function knownWeights(layout: StorePaths): Promise<KnownWeights> {
  const inside = new Map<Digest, { location: Location; layer: Descriptor }>();
  const named = new Map<string, Map<Digest, Location>>();
  for (const tag of await listTags(layout)) {
    const model = await readStoredModel(layout, tag.name, tag.digest).catch(() => undefined);
    if (model) look(model);
  }
  return { inside, namesakes: (weight) => [...(named.get(key(weight))?.values() ?? [])] };

  function look(model: StoredModel): void {
    const shards = new Map(
      model.manifest.layers
        // A damaged shard does not count: adding its weights again then stores them anew.
        .filter(
          (layer) =>
            layer.mediaType === MediaType.shard && isWholeSync(layout.blob(layer.digest), layer.size),
        )
        .map((layer) => [layer.digest, layer]),
    );
    for (const [digest, location] of model.locations) {
      const layer = shards.get(location.blob);
      if (layer) inside.set(digest, { location, layer });
    }
    for (const weight of model.config.methods.flatMap((method) => method.weights)) {
      const location = model.locations.get(weight.digest);
      const known = named.get(key(weight)) ?? new Map<Digest, Location>();
      if (location && known.size < MAX_NAMESAKES) known.set(weight.digest, location);
      named.set(key(weight), known);
    }
  }
}

function key({ name, dtype, shape }: Pick<Weight, "name" | "dtype" | "shape">): string {
  return JSON.stringify([name, dtype, shape]);
}
