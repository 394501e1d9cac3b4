import { stat } from "node:fs/promises";
import { join } from "node:path";
import { FormatError, SourceError } from "../errors.ts";
import { memorySource } from "../io/byte-source.ts";
import { rangeOf } from "../io/stream.ts";
import { encodeJson, type Manifest } from "../model/manifest.ts";
import { manifestBlobs } from "../model/stored-model.ts";
import { openFileSource } from "../node/file-source.ts";
import { openModel } from "../node/open-model.ts";
import { sha256 } from "../node/sha256.ts";
import { namedManifest } from "../store/put-manifest.ts";
import { readTagged } from "../store/read-model.ts";
import type { BlobRef, BlobSource } from "../store/store.ts";
import type { Digest } from "../tensor/digest.ts";
import { LocalNames } from "./local-names.ts";
import type { LocalStore } from "./local-store.ts";
import { folderReader } from "./open-blob.ts";
import { type PlacedWeight, rebuildPack } from "./rebuild-pack.ts";
import { stageModel, type StagedModel } from "./stage.ts";
import { StorePaths } from "./store-paths.ts";

/** Options of {@link repairStore}. */
export interface RepairOptions {
  /** Damaged and missing blobs. */
  readonly needed: readonly BlobRef[];
  readonly signal?: AbortSignal | undefined;
}

/**
 * Replaces damaged and missing blobs by bytes from other places, each checked against its digest. A place is another store's
 * folder, a model's files, or the file of a blob. A damaged bundle or shard is made again from its weights.
 * @param from places, which are not changed; the model of a file or folder is in the store while the repair runs
 * @returns digests of the blobs that were stored again with a model's files, needed or not
 * @throws SourceError `not-found` for a place that does not exist, `disk-full`; the errors of a reader
 */
export async function repairStore(
  store: LocalStore,
  from: readonly string[],
  { needed, signal }: RepairOptions,
): Promise<Set<Digest>> {
  const weights = new Map<Digest, PlacedWeight>();
  const stored = new Set<Digest>();
  const staged: StagedModel[] = [];
  try {
    for (const path of from) {
      signal?.throwIfAborted();
      if (await isStore(path)) await takeFromStore(store, new StorePaths(path), needed, weights, signal);
      else {
        const model = await stageFrom(store, path, needed, signal);
        if (!model) continue;
        staged.push(model);
        for (const digest of model.fresh.keys()) stored.add(digest);
        await takeManifests(store, model.model.manifest, needed);
        addPlaces(weights, store.paths, model.model.locations);
      }
    }
    await rebuildPacks(store, needed, weights, signal);
    return stored;
  } finally {
    for (const each of staged) await each[Symbol.asyncDispose]();
  }
}

async function isStore(path: string): Promise<boolean> {
  return (await stat(join(path, "oci-layout")).catch(() => undefined)) !== undefined;
}

/** Copies blobs of another store, and finds its weights. */
async function takeFromStore(
  store: LocalStore,
  other: StorePaths,
  needed: readonly BlobRef[],
  weights: Map<Digest, PlacedWeight>,
  signal: AbortSignal | undefined,
): Promise<void> {
  const reader = folderReader(other);
  for (const blob of needed) {
    const source = await reader.blobs.open(blob.digest).catch(() => undefined);
    if (source) await take(store, source, blob, signal);
  }
  for (const tag of await new LocalNames(other).list()) {
    const model = await readTagged(reader, tag).catch(() => undefined);
    if (model) addPlaces(weights, other, model.locations);
  }
}

/** Stores a source as a blob if it has its digest. Closes the source. */
async function take(
  store: LocalStore,
  source: BlobSource,
  { digest, size }: BlobRef,
  signal?: AbortSignal,
): Promise<void> {
  await using _ = source;
  if (source.size !== size) return;
  await using staged = await store.blobs.stage(rangeOf(source, 0, size, { signal }), { signal });
  if (staged.digest === digest) await staged.commit(digest);
}

/** Stores the model of a file or folder without a name, which replaces damaged blobs; or a file that is a blob. */
async function stageFrom(
  store: LocalStore,
  path: string,
  needed: readonly BlobRef[],
  signal: AbortSignal | undefined,
): Promise<StagedModel | undefined> {
  try {
    await using model = await openModel([path], { signal });
    return await stageModel(store, model.name, model.draft, { signal });
  } catch (error) {
    const isModel = !(error instanceof FormatError || error instanceof SourceError);
    const stats = await stat(path).catch(() => undefined);
    if (isModel || !stats?.isFile()) throw error;
    const alike = needed.filter(({ size }) => size === stats.size);
    for (const blob of alike) await take(store, await openFileSource(path), blob, signal);
    if (alike.length === 0) throw error;
    return undefined;
  }
}

/** Makes manifests of a model again, which differ by the name of the model. */
async function takeManifests(
  store: LocalStore,
  manifest: Manifest,
  needed: readonly BlobRef[],
): Promise<void> {
  const damaged = new Set(needed.map(({ digest }) => digest));
  for (const { name, digest } of await store.names.list()) {
    if (!damaged.has(digest)) continue;
    const bytes = encodeJson(namedManifest(manifest, name));
    if (sha256(bytes) === digest)
      await take(store, fromMemory(bytes, name), { digest, size: bytes.byteLength });
  }
}

function fromMemory(bytes: Uint8Array, name: string): BlobSource {
  return { ...memorySource(bytes, name), [Symbol.asyncDispose]: async () => {} };
}

function addPlaces(
  weights: Map<Digest, PlacedWeight>,
  paths: StorePaths,
  locations: ReadonlyMap<Digest, Omit<PlacedWeight, "path"> & { readonly blob: Digest }>,
): void {
  for (const [digest, { blob, offset, length }] of locations)
    weights.set(digest, { path: paths.blob(blob), offset, length });
}

/** Makes damaged bundles and shards again. */
async function rebuildPacks(
  store: LocalStore,
  needed: readonly BlobRef[],
  weights: ReadonlyMap<Digest, PlacedWeight>,
  signal: AbortSignal | undefined,
): Promise<void> {
  const packs = new Map(needed.map((blob) => [blob.digest, blob]));
  for (const tag of await store.names.list()) {
    const model = await readTagged(store, tag).catch(() => undefined);
    if (!model) continue;
    for (const blob of manifestBlobs(model.manifest)) {
      const pack = packs.get(blob.digest);
      const inside = [...model.locations].filter(
        ([digest, { blob: at }]) => at === blob.digest && at !== digest,
      );
      if (!pack || inside.length === 0 || (await store.blobs.has(pack))) continue;
      packs.delete(blob.digest);
      await rebuildPack(store, pack, inside, weights, signal);
    }
  }
}
