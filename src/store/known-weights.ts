import type { Weight } from "../model/config.ts";
import { type Descriptor, type Location, MediaType } from "../model/manifest.ts";
import type { StoredModel } from "../model/stored-model.ts";
import type { Digest } from "../tensor/digest.ts";
import { readTagged } from "./read-model.ts";
import type { Store } from "./store.ts";

/** Number of namesakes whose first bytes are compared with a large weight before it is written. */
const MAX_NAMESAKES = 64;

/** Location of a stored weight, and the layer of the manifest that contains it. */
export interface Placement {
  readonly location: Location;
  readonly layer: Descriptor;
}

/** Stored weights of a store's models, which a writer looks up before it writes new ones. */
export interface KnownWeights {
  /** Weights inside undamaged shards. */
  readonly inside: ReadonlyMap<Digest, Placement>;
  /**
   * Returns the locations of weights of the same name, dtype and shape: most weights of a fine-tune are equal to one.
   */
  namesakes(weight: Pick<Weight, "name" | "dtype" | "shape">): readonly Location[];
}

/** Collects the weights of all models of a store. Skips models that cannot be read, which `verify` reports. */
export async function findKnownWeights(store: Store): Promise<KnownWeights> {
  const inside = new Map<Digest, Placement>();
  const named = new Map<string, Map<Digest, Location>>();
  for (const tag of await store.names.list()) {
    const model = await readTagged(store, tag).catch(() => undefined);
    if (!model) continue;
    const shards = await undamagedShards(store, model);
    for (const [digest, location] of model.locations) {
      const layer = shards.get(location.blob);
      if (layer) inside.set(digest, { location, layer });
    }
    addNamesakes(model, named);
  }
  return { inside, namesakes: (weight) => [...(named.get(keyOf(weight))?.values() ?? [])] };
}

/** Finds the undamaged shards of a model; a writer stores the weights of damaged ones again. */
async function undamagedShards(store: Store, { manifest }: StoredModel): Promise<Map<Digest, Descriptor>> {
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
