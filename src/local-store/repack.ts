import { createHash } from "node:crypto";
import type { Digest } from "../tensor/digest.ts";
import {
  type Descriptor,
  encodeJson,
  type Location,
  type Manifest,
  MediaType,
  SHARD_LAYOUT,
} from "../model/manifest.ts";
import { manifestBlobs, modelWeights, type StoredModel } from "../model/stored-model.ts";
import type { WeightFile } from "../model/weight-file.ts";
import { syncFolder } from "../node/atomic-write.ts";
import { putJson } from "./blobs.ts";
import { discard, missingBlobs } from "./gc.ts";
import { moveTags } from "./tags.ts";
import type { IngestResult, IngestSetup } from "./ingest-job.ts";
import type { StorePaths } from "./store-paths.ts";
import { openLease } from "./lease.ts";
import { withLock } from "./lock.ts";
import { writeWeightFiles } from "./write-weight-files.ts";

/** A file of weights to make of what the store has, which becomes their one place. */
export interface ShardFile extends WeightFile {
  /** The blob that it is already. */
  readonly stored?: Digest | undefined;
}

/** A model whose weights move into shards. */
export interface Repacked {
  readonly model: StoredModel;
  /** Indices of the shards that hold its weights; those that none of them holds stay where they are. */
  readonly shards: readonly number[];
}

/** What lies where in a shard, as a digest: two weights of one shard may have the same bytes. */
export function shardLayout({ header, offsets, size, weights }: ShardFile): Digest {
  const digests = weights.map(({ digest }) => digest);
  const hash = createHash("sha256").update(header).update(encodeJson({ offsets, size, digests }));
  return `sha256:${hash.digest("hex")}`;
}

/**
 * Lays the weights of models out anew, as files that an engine opens: one sequential write, after which the new files
 * are the only place of those weights. What the models are (their configs) does not change.
 * @returns the shards' digests, or `undefined` if a model changed meanwhile: then nothing was done
 */
export async function repack(
  layout: StorePaths,
  shards: readonly ShardFile[],
  models: readonly Repacked[],
  signal?: AbortSignal,
): Promise<Digest[] | undefined> {
  await using lease = await openLease(layout);
  const fresh = new Map<Digest, number>();
  const progress = new SharedArrayBuffer(16);
  const setup: IngestSetup = { blobs: layout.blobs, temporary: lease.folder, progress, inside: new Set() };
  try {
    const missing = shards.filter((shard) => !shard.stored);
    const written = await writeWeightFiles(missing, (digest) => layout.blob(digest), setup, signal);
    const results = shards.map(({ stored, size }) =>
      stored ? { digest: stored, size, packed: [], fresh: false } : (written.shift() as IngestResult),
    );
    for (const result of results) if (result.fresh) fresh.set(result.digest, result.size);
    const put = (mediaType: string, value: unknown): Promise<Descriptor> =>
      putJson(layout, lease.folder, mediaType, value, fresh);
    const moves: { name: string; from: Digest; to: Descriptor; needs: Descriptor[] }[] = [];
    for (const { model, shards: indices } of models) {
      const layers = indices.map((index): Descriptor => {
        const { digest, size } = results[index] as IngestResult;
        const annotations = { [SHARD_LAYOUT]: shardLayout(shards[index] as ShardFile) };
        return { mediaType: MediaType.shard, digest, size, annotations };
      });
      const places = new Map(
        indices.flatMap((index) =>
          placesIn(shards[index] as ShardFile, (results[index] as IngestResult).digest),
        ),
      );
      const { kept, inside } = staying(model, places);
      const weights = [...places, ...inside].map(([digest, location]) => ({ digest, ...location }));
      const locations = await put(MediaType.locations, { weights });
      const manifest: Manifest = { ...model.manifest, layers: [...layers, ...kept, locations] };
      const to = await put(MediaType.manifest, manifest);
      moves.push({ name: model.name, from: model.digest, to, needs: [to, ...manifestBlobs(manifest)] });
    }
    await syncFolder(layout.blobs);
    const moved = await withLock(layout, async (assertHeld) => {
      for (const { needs } of moves) if ((await missingBlobs(layout, needs)).length > 0) return false;
      assertHeld();
      return moveTags(layout, moves);
    });
    if (!moved) {
      await discard(layout, fresh.keys());
      return undefined;
    }
    // The old places go, unless something else needs them.
    const old = models.flatMap(({ model }) => [
      model.digest,
      ...model.manifest.layers.map((layer) => layer.digest),
    ]);
    await discard(layout, old);
    return results.map((result) => result.digest);
  } catch (error) {
    await discard(layout, fresh.keys()).catch(() => undefined);
    throw error;
  }
}

function placesIn(shard: ShardFile, blob: Digest): [Digest, Location][] {
  return shard.weights.map(({ digest, from }, index) => {
    return [digest, { blob, offset: shard.offsets[index] as number, length: from.length }];
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
      mediaType === MediaType.rest || (mediaType !== MediaType.locations && blobs.has(digest)),
  );
  return { kept, inside };
}
