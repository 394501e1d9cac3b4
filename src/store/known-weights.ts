import type { Weight } from "../model/config.ts";
import { type Descriptor, type Location, MediaType } from "../model/manifest.ts";
import type { StoredModel } from "../model/stored-model.ts";
import type { Digest } from "../tensor/digest.ts";
import { readTagged } from "./read-model.ts";
import type { Store } from "./store.ts";

/** Namesakes compared by their first bytes before a large weight is written: more would cost more than they save. */
const MAX_NAMESAKES = 64;

/** Where a weight is stored, and the layer of a manifest that holds it. */
export interface Placement {
  readonly location: Location;
  readonly layer: Descriptor;
}

/** What the models of a store have, as far as a writer can use it. */
export interface KnownWeights {
  /** Weights inside whole shards. */
  readonly inside: ReadonlyMap<Digest, Placement>;
  /** Where weights of the same name, dtype and shape are: a fine-tune changed few of them. */
  namesakes(weight: Pick<Weight, "name" | "dtype" | "shape">): readonly Location[];
}

/** Looks through the models of a store; those that cannot be read are left to `verify`. */
export async function findKnownWeights(store: Store): Promise<KnownWeights> {
  const inside = new Map<Digest, Placement>();
  const named = new Map<string, Map<Digest, Location>>();
  for (const tag of await store.names.list()) {
    const model = await readTagged(store, tag).catch(() => undefined);
    if (!model) continue;
    const shards = await wholeShards(store, model);
    for (const [digest, location] of model.locations) {
      const layer = shards.get(location.blob);
      if (layer) inside.set(digest, { location, layer });
    }
    addNamesakes(model, named);
  }
  return { inside, namesakes: (weight) => [...(named.get(keyOf(weight))?.values() ?? [])] };
}

/** A damaged shard does not count: a writer then stores its weights anew. */
async function wholeShards(store: Store, { manifest }: StoredModel): Promise<Map<Digest, Descriptor>> {
  const shards = new Map<Digest, Descriptor>();
  for (const layer of manifest.layers) {
    if (layer.mediaType === MediaType.shard && (await store.blobs.has(layer)))
      shards.set(layer.digest, layer);
  }
  return shards;
}

function addNamesakes(model: StoredModel, named: Map<string, Map<Digest, Location>>): void {
  for (const weight of model.config.methods.flatMap((method) => method.weights)) {
    const location = model.locations.get(weight.digest);
    const known = named.get(keyOf(weight)) ?? new Map<Digest, Location>();
    if (location && known.size < MAX_NAMESAKES) known.set(weight.digest, location);
    named.set(keyOf(weight), known);
  }
}

function keyOf({ name, dtype, shape }: Pick<Weight, "name" | "dtype" | "shape">): string {
  return JSON.stringify([name, dtype, shape]);
}
