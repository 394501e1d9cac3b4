import { open } from "node:fs/promises";
import { join } from "node:path";
import { StoreError } from "../../errors.ts";
import type { Digest } from "../../model/digest.ts";
import {
  type Descriptor,
  encodeJson,
  type Location,
  type Manifest,
  MediaType,
} from "../../model/manifest.ts";
import { manifestBlobs, type StoredModel } from "../../model/stored-model.ts";
import { syncFolder } from "../durable.ts";
import { openFileSource } from "../file-source.ts";
import { startWorkers } from "../worker-pool.ts";
import { putBlob } from "./blobs.ts";
import { discard, missingBlobs } from "./gc.ts";
import { moveTags } from "./index-file.ts";
import type { IngestJob, IngestPart, IngestResult, IngestSetup } from "./ingest-job.ts";
import type { StoreLayout } from "./layout.ts";
import { openLease } from "./lease.ts";
import { withLock } from "./lock.ts";

/** A file of weights to make of what the store has, which becomes their one place. */
export interface ShardFile {
  readonly header: Uint8Array;
  /** Where each weight is to start, in bytes from the start of the file, in order. */
  readonly offsets: readonly number[];
  /** Size of the whole file, padding at its end included. */
  readonly size: number;
  readonly weights: readonly { readonly digest: Digest; readonly from: Location }[];
  /** The blob that it is already. */
  readonly stored?: Digest | undefined;
}

/** A model whose weights move into shards. */
export interface Repacked {
  readonly model: StoredModel;
  /** Indices of the shards that hold its weights. */
  readonly shards: readonly number[];
}

/**
 * Lays the weights of models out anew, as files that an engine opens: one sequential write, after which the new files
 * are the only place of those weights. What the models are (their configs) does not change.
 * @returns the shards' digests, or `undefined` if a model changed meanwhile: then nothing was done
 */
export async function repack(
  layout: StoreLayout,
  shards: readonly ShardFile[],
  models: readonly Repacked[],
  signal?: AbortSignal,
): Promise<Digest[] | undefined> {
  await using lease = await openLease(layout);
  const fresh = new Set<Digest>();
  const progress = new SharedArrayBuffer(16);
  const setup: IngestSetup = { blobs: layout.blobs, temporary: lease.folder, progress, inside: new Set() };
  try {
    const results = await writeShards(layout, lease.folder, shards, setup, signal);
    for (const result of results) if (result.fresh) fresh.add(result.digest);
    const put = async (mediaType: string, value: unknown): Promise<Descriptor> => {
      const bytes = encodeJson(value);
      const { digest, fresh: isNew } = await putBlob(layout, lease.folder, bytes);
      if (isNew) fresh.add(digest);
      return { mediaType, digest, size: bytes.byteLength };
    };
    const moves: { name: string; from: Digest; to: Descriptor; needs: Descriptor[] }[] = [];
    for (const { model, shards: indices } of models) {
      const layers = indices.map((index): Descriptor => {
        const { digest, size } = results[index] as IngestResult;
        return { mediaType: MediaType.shard, digest, size };
      });
      const weights = indices.flatMap((index) =>
        placesIn(shards[index] as ShardFile, (results[index] as IngestResult).digest),
      );
      const rests = model.manifest.layers.filter((layer) => layer.mediaType === MediaType.rest);
      const locations = await put(MediaType.locations, { weights });
      const manifest: Manifest = { ...model.manifest, layers: [...layers, ...rests, locations] };
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
      await discard(layout, fresh);
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
    await discard(layout, fresh).catch(() => undefined);
    throw error;
  }
}

async function writeShards(
  layout: StoreLayout,
  folder: string,
  shards: readonly ShardFile[],
  setup: IngestSetup,
  signal: AbortSignal | undefined,
): Promise<IngestResult[]> {
  const jobs: IngestJob[] = [];
  for (const [index, shard] of shards.entries()) {
    if (shard.stored) continue;
    const path = join(folder, `header-${index}`);
    const handle = await open(path, "wx");
    await handle.writeFile(shard.header);
    await handle.close();
    const parts: IngestPart[] = [await partOf(path, 0, shard.header.byteLength)];
    let at = shard.header.byteLength;
    for (const [nth, { digest, from }] of shard.weights.entries()) {
      const offset = shard.offsets[nth] as number;
      const part = await partOf(layout.blob(from.blob), from.offset, from.length);
      parts.push({ ...part, digest, padding: offset - at });
      at = offset + from.length;
    }
    parts.push({ ...(await partOf(path, 0, 0)), padding: shard.size - at });
    jobs.push({ parts, pack: false, candidates: [] });
  }
  await using workers = startWorkers<IngestJob, IngestResult>(
    new URL("./ingest-worker.js", import.meta.url),
    {
      count: Math.max(1, Math.min(2, jobs.length)),
      data: setup,
      stop: () => void Atomics.store(new BigInt64Array(setup.progress), 1, 1n),
      signal,
    },
  );
  const written = await workers.run(jobs.map((job) => () => job));
  return shards.map(({ stored, size }) => {
    if (stored) return { digest: stored, size, packed: [], fresh: false };
    const result = written.shift();
    if (result?.size !== size)
      throw new StoreError("corrupted", `Cannot lay out a shard: it has ${result?.size} bytes`);
    return result;
  });
}

async function partOf(path: string, offset: number, length: number): Promise<IngestPart> {
  await using source = await openFileSource(path);
  return { path, identity: source.identity, offset, length };
}

function placesIn(shard: ShardFile, blob: Digest): ({ readonly digest: Digest } & Location)[] {
  return shard.weights.map(({ digest, from }, index) => {
    return { digest, blob, offset: shard.offsets[index] as number, length: from.length };
  });
}
