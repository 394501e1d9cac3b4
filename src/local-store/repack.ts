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

/** A file of weights to make of what the store has, which becomes their one place. */
export interface ShardFile extends WeightFile {
  /** The blob that it is already. */
  readonly stored?: Digest | undefined;
}

/** A model whose weights move into shards. */
export interface Repacked {
  readonly model: StoredModel;
  /** Indices of the shards that hold its weights; weights in none of them stay where they are. */
  readonly shards: readonly number[];
}

/** A shard that is a blob now. */
type WrittenShard = ShardFile & { readonly stored: Digest };

/** A digest of what is where in a shard: two weights of one shard may have the same bytes. */
export function shardLayout({ header, offsets, size, weights }: ShardFile): Digest {
  const digests = weights.map(({ digest }) => digest);
  const hash = createHash("sha256").update(header).update(encodeJson({ offsets, size, digests }));
  return `sha256:${hash.digest("hex")}`;
}

/**
 * Packs the weights of models into files that an engine opens: one sequential write, after which the new files are the
 * only place of those weights. What the models are (their configs) does not change.
 * @returns the shards' digests, or `undefined` if a model changed meanwhile: then nothing was done
 */
export async function repack(
  store: LocalStore,
  shards: readonly ShardFile[],
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

/** Writes the shards that are no blobs yet. */
async function writeShards(
  store: LocalStore,
  transaction: Transaction,
  shards: readonly ShardFile[],
  signal: AbortSignal | undefined,
): Promise<WrittenShard[]> {
  await using scratch = await store.blobs.lease();
  const setup = {
    blobs: store.paths.blobs,
    temporary: scratch.folder,
    progress: new SharedArrayBuffer(16),
    inside: new Set<string>(),
  };
  const missing = shards.filter((shard) => !shard.stored);
  const results = await writeWeightFiles(missing, (digest) => store.blobPath(digest), setup, signal);
  for (const result of results) transaction.note(result);
  const digests = results.map(digestOf);
  return shards.map((shard) => ({ ...shard, stored: shard.stored ?? (digests.shift() as Digest) }));
}

/** Stores the manifest of a model whose weights lie in shards. */
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
  const { kept, inside } = staying(model, places);
  const to = await putManifest(transaction, {
    config: model.manifest.config,
    layers: [...layers, ...kept],
    inside: new Map([...places, ...inside]),
    base: model.manifest,
  });
  return { name: model.name, from: model.digest, to };
}

function placesIn({ stored: blob, offsets, weights }: WrittenShard): [Digest, Location][] {
  return weights.map(({ digest, from }, index) => {
    return [digest, { blob, offset: offsets[index] as number, length: from.length }];
  });
}

/** What of a model does not move: its rests, the blobs of weights without a new place, and where these lie in them. */
function staying(
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
