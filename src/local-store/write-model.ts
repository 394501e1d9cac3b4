import { availableParallelism } from "node:os";
import type { Progress } from "../io/progress.ts";
import type { ModelDraft } from "../model/draft.ts";
import type { Descriptor } from "../model/manifest.ts";
import type { FileSource } from "../node/file-source.ts";
import { requireStorable } from "../model/require-storable.ts";
import { watchProgress } from "../node/progress.ts";
import { findKnownWeights, type KnownWeights } from "../store/known-weights.ts";
import { missingBlob } from "../store/read-blob.ts";
import { putManifest } from "../store/put-manifest.ts";
import type { StoredManifest } from "../store/store.ts";
import type { Transaction } from "../store/transaction.ts";
import { digestHex } from "../tensor/digest.ts";
import { assembleModel } from "./assemble-model.ts";
import { type Ingested, ingestModel, type MoveProgress } from "./ingest-model.ts";
import { startIngestWorkers } from "./ingest-workers.ts";
import type { LocalStore } from "./local-store.ts";
import { requireUnchanged } from "./require-unchanged.ts";

/**
 * A hashing thread takes about 25 MB and processes 1.3 GiB/s: three are faster than most disks and stay below 150 MB.
 */
const MAX_THREADS = 3;

/** Options of {@link writeModel}. */
export interface WriteModelOptions {
  /** Name that the manifest has; none unless given. */
  readonly name?: string | undefined;
  readonly onProgress?: ((progress: Progress) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Hashing threads; the number of cores, up to 3, unless given. */
  readonly threads?: number | undefined;
  /** Files to free while their weights are stored. */
  readonly moving?: MoveProgress | undefined;
}

/**
 * Streams a model's files once, and stores its blobs and manifest. Gives it no name.
 * @throws SourceError `unsafe-path`, `source-changed`, `short-read`, `disk-full`; FormatError `size-mismatch`
 */
export async function writeModel(
  store: LocalStore,
  transaction: Transaction,
  draft: ModelDraft<FileSource>,
  { name, threads, signal, onProgress, moving }: WriteModelOptions,
): Promise<StoredManifest> {
  requireStorable(draft);
  const progress = new SharedArrayBuffer(16);
  const fileBytes = draft.files.reduce((sum, { source }) => sum + source.size, 0);
  using _ = watchProgress(progress, fileBytes, onProgress);
  const known = await findKnownWeights(store);
  const inside = new Map(
    [...known.inside].map(([digest, { location }]) => {
      return [digestHex(digest), { path: store.blobPath(location.blob), offset: location.offset }];
    }),
  );
  await using scratch = await store.blobs.lease();
  const setup = { blobs: store.paths.blobs, temporary: scratch.folder, progress, inside };
  const count = threads ?? Math.min(MAX_THREADS, availableParallelism());
  await using workers = startIngestWorkers(setup, { count, signal });
  const ingested = await ingestModel({
    draft,
    workers,
    known,
    moving,
    blobPath: (digest) => store.blobPath(digest),
    onBlob: (blob) => {
      if (!blob.inside) transaction.note(blob);
    },
    sync: () => transaction.sync(),
  });
  await requireShards(store, ingested, known);
  const stored = await putManifest(transaction, { ...assembleModel(draft, ingested, known), name });
  await requireUnchanged(draft.files.map(({ source }) => source));
  return stored;
}

/**
 * Checks that no weight is in a shard that was found damaged meanwhile.
 * @throws StoreError `missing-blob`: the transaction stores the weights again
 */
async function requireShards(store: LocalStore, { large }: Ingested, known: KnownWeights): Promise<void> {
  const shards = new Set<Descriptor>();
  for (const { digest, inside } of large.values()) {
    const layer = inside ? known.inside.get(digest)?.layer : undefined;
    if (layer) shards.add(layer);
  }
  for (const layer of shards) {
    const { digest } = layer;
    if (await store.blobs.has(layer)) continue;
    throw missingBlob(`blob ${digest}`, { path: store.blobPath(digest), digest });
  }
}
