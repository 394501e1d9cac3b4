import { createHash } from "node:crypto";
import { type Descriptor, encodeJson, type Location, MediaType, SHARD_LAYOUT } from "../model/manifest.ts";
import { modelWeights, type StoredModel } from "../model/stored-model.ts";
import type { WeightFile } from "../model/weight-file.ts";
import { putManifest } from "../store/put-manifest.ts";
import { transact, type Transaction } from "../store/transaction.ts";
import type { Digest } from "../tensor/digest.ts";
import type { LocalStore } from "./local-store.ts";
import type { TagMove } from "./local-names.ts";
import { writeWeightFiles } from "./write-weight-files.ts";

/** A shard to make of stored weights, which becomes their only location. */
export interface ShardDraft extends WeightFile {
  /** Digest of the shard if it is a blob already. */
  readonly stored?: Digest | undefined;
}

/** A model whose weights move to shards. */
export interface Repacked {
  readonly model: StoredModel;
  /** Indices of the shards with its weights; other weights do not move. */
  readonly shards: readonly number[];
}

/** A shard that is a blob. */
type WrittenShard = ShardDraft & { readonly stored: Digest };

/** Returns a digest of the header, offsets and weights of a shard. */
export function shardLayout({ header, offsets, size, weights }: ShardDraft): Digest {
  const digests = weights.map(({ digest }) => digest);
  const hash = createHash("sha256").update(header).update(encodeJson({ offsets, size, digests }));
  return `sha256:${hash.digest("hex")}`;
}

/**
 * Moves the weights of models to shards, which engines open, with one sequential write. The shards become the only
 * location of the weights. The configs of the models do not change.
 * @returns digests of the shards; `undefined`, with no effect, if a model changed in the meantime
 */
export async function repack(
  store: LocalStore,
  shards: readonly ShardDraft[],
  models: readonly Repacked[],
  signal?: AbortSignal,
): Promise<Digest[] | undefined> {
  return transact(store, async (transaction) => {
    const written = await writeShards(store, transaction, shards, signal);
    const moves: TagMove[] = [];
    for (const { model, shards: indices } of models) {
      const used = indices.map((index) => written[index] as WrittenShard);
      moves.push(await planMove(transaction, model, used));
    }
    const moved = await transaction.commit(async () => (await store.names.move(moves)) || undefined);
    if (!moved) return undefined;
    const old = models.flatMap(({ model }) => [model.digest, ...model.manifest.layers.map(digestOf)]);
    await transaction.discard(old);
    return written.map(({ stored }) => stored);
  });
}

/** Writes the shards that are not blobs yet. */
async function writeShards(
  store: LocalStore,
  transaction: Transaction,
  shards: readonly ShardDraft[],
  signal: AbortSignal | undefined,
): Promise<WrittenShard[]> {
  await using scratch = await store.blobs.lease();
  const setup = {
    blobs: store.paths.blobs,
    temporary: scratch.folder,
    progress: new SharedArrayBuffer(16),
    inside: new Map(),
  };
  const missing = shards.filter((shard) => !shard.stored);
  const results = await writeWeightFiles(missing, (digest) => store.blobPath(digest), setup, signal);
  for (const result of results) transaction.note(result);
  const digests = results.map(digestOf);
  return shards.map((shard) => ({ ...shard, stored: shard.stored ?? (digests.shift() as Digest) }));
}

/** Stores the manifest of a model with weights in shards. */
async function planMove(
  transaction: Transaction,
  model: StoredModel,
  shards: readonly WrittenShard[],
): Promise<TagMove> {
  const layers = shards.map((shard): Descriptor => {
    const annotations = { [SHARD_LAYOUT]: shardLayout(shard) };
    return { mediaType: MediaType.shard, digest: shard.stored, size: shard.size, annotations };
  });
  const places = new Map(shards.flatMap(placesIn));
  const { kept, inside } = unmoved(model, places);
  const to = await putManifest(transaction, {
    config: model.manifest.config,
    layers: [...layers, ...kept],
    inside: new Map([...places, ...inside]),
    base: model.manifest,
    name: model.name,
  });
  return { name: model.name, from: model.digest, to };
}

function placesIn({ stored: blob, offsets, weights }: WrittenShard): [Digest, Location][] {
  return weights.map(({ digest, from }, index) => {
    return [digest, { blob, offset: offsets[index] as number, length: from.length }];
  });
}

/**
 * Finds the layers that do not move (skeletons, and blobs of weights outside of shards), and the locations of such
 * weights.
 */
function unmoved(
  model: StoredModel,
  places: ReadonlyMap<Digest, Location>,
): { readonly kept: readonly Descriptor[]; readonly inside: ReadonlyMap<Digest, Location> } {
  const blobs = new Set<Digest>();
  const inside = new Map<Digest, Location>();
  for (const { digest } of modelWeights(model.config)) {
    const location = model.locations.get(digest);
    if (!location || places.has(digest)) continue;
    blobs.add(location.blob);
    if (location.blob !== digest) inside.set(digest, location);
  }
  const kept = model.manifest.layers.filter(
    ({ mediaType, digest }) =>
      mediaType === MediaType.skeleton || (mediaType !== MediaType.locations && blobs.has(digest)),
  );
  return { kept, inside };
}

function digestOf({ digest }: { readonly digest: Digest }): Digest {
  return digest;
}
