import { stat } from "node:fs/promises";
import { availableParallelism } from "node:os";
import { StoreError } from "../errors.ts";
import { type Digest, digestHex } from "../tensor/digest.ts";
import type { ModelDraft } from "../model/draft.ts";
import { allWeights } from "../model/holes.ts";
import { type Descriptor, type Manifest, MediaType } from "../model/manifest.ts";
import { manifestBlobs } from "../model/stored-model.ts";
import { syncFolder } from "../node/atomic-write.ts";
import { fileError, type FileSource, identityOf, sameIdentity } from "../node/file-source.ts";
import { type Progress, watchProgress } from "../node/progress.ts";
import { startWorkers } from "../node/worker-pool.ts";
import { putJson } from "./blobs.ts";
import { discard, missingBlobs } from "./gc.ts";
import { checkName, writeTag } from "./tags.ts";
import { sourceChanged } from "./ingest.ts";
import { type MoveProgress, ingestModel } from "./ingest-model.ts";
import type { IngestJob, IngestResult, IngestSetup } from "./ingest-job.ts";
import { knownWeights } from "./known-weights.ts";
import type { StorePaths } from "./store-paths.ts";
import { type Lease, openLease, sweepLeases } from "./lease.ts";
import { withLock } from "./lock.ts";

/** Each hashing thread takes about 25 MB and does 1.3 GiB/s: three outrun most disks and stay below 150 MB. */
const MAX_THREADS = 3;
/** A collection may take what this add had found stored; more than once in a row is not chance. */
const ATTEMPTS = 3;

/** Options of {@link addModel}. */
export interface AddOptions {
  /** Give the name to this model though another has it. */
  readonly replace?: boolean | undefined;
  readonly onProgress?: ((progress: Progress) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Hashing threads; the number of cores, up to 3, unless given. */
  readonly threads?: number | undefined;
}

/** Options of {@link addModel} besides those of its callers. */
interface IngestOptions extends AddOptions {
  /** Frees the files as their weights come into the store. */
  readonly moving?: MoveProgress | undefined;
}

/** What an add did. */
export interface AddResult {
  readonly name: string;
  /** Of the manifest. */
  readonly digest: Digest;
  /** Size of the model's files. */
  readonly fileBytes: number;
  /** Bytes that the store did not have. */
  readonly newBytes: number;
  readonly weights: number;
  /** Blobs that the store did not have. */
  readonly newBlobs: number;
  /** What people should know about how the files were read, in sentences. */
  readonly notes?: readonly string[];
}

/**
 * Adds a model that was read: streams its files once, keeps what the store has not, and names it at the end.
 * Until then nothing is visible; on failure the store is as it was.
 * @param files the opened sources of `draft.files`, in the same order
 * @throws SourceError `source-changed`, `short-read`, `disk-full`; StoreError `name-taken`, `bad-name`
 */
export async function addModel(
  layout: StorePaths,
  name: string,
  draft: ModelDraft,
  files: readonly FileSource[],
  options: IngestOptions = {},
): Promise<AddResult> {
  checkName(name);
  await sweepLeases(layout);
  await using lease = await openLease(layout);
  const progress = new SharedArrayBuffer(16);
  const fileBytes = files.reduce((sum, file) => sum + file.size, 0);
  using _ = watchProgress(progress, fileBytes, options.onProgress);
  const fresh = new Map<Digest, number>();
  try {
    for (let attempt = 1; ; attempt++) {
      const { descriptor, config, blobs } = await storeModel(
        layout,
        lease,
        draft,
        files,
        progress,
        fresh,
        options,
      );
      await refuseChanged(files);
      options.signal?.throwIfAborted();
      const { lost, digest } = await withLock(layout, async (assertHeld) => {
        const [missing] = await missingBlobs(layout, [descriptor, ...blobs]);
        if (missing) return { lost: missing, digest: descriptor.digest };
        assertHeld();
        const naming = { manifest: descriptor, config, replace: options.replace ?? false };
        return { lost: undefined, digest: await writeTag(layout, name, naming) };
      });
      if (!lost) {
        if (digest !== descriptor.digest) {
          // The name had this model, its bytes laid out in another way: what was written for this one is of no use.
          await discard(layout, fresh.keys());
          fresh.clear();
        }
        return {
          name,
          digest,
          fileBytes,
          newBytes: [...fresh.values()].reduce((sum, size) => sum + size, 0),
          newBlobs: fresh.size,
          weights: allWeights(draft).length,
          ...(draft.notes && { notes: draft.notes }),
        };
      }
      if (attempt === ATTEMPTS) {
        throw new StoreError("missing-blob", `Cannot add "${name}": blob ${lost.digest} vanished`, {
          path: layout.root,
          digest: lost.digest,
          hint: "something else removes blobs from the store; stop it and try again",
        });
      }
    }
  } catch (error) {
    await discard(layout, fresh.keys()).catch(() => undefined);
    throw error instanceof Error && "syscall" in error ? fileError(layout.root, "write", error) : error;
  }
}

/**
 * Stores everything of a model but its name; the lease keeps it for as long as it lives.
 * @param progress counts the bytes read
 * @param fresh is told every blob that the store did not have, with its size
 */
export async function storeModel(
  layout: StorePaths,
  lease: Lease,
  draft: ModelDraft,
  files: readonly FileSource[],
  progress: SharedArrayBuffer,
  fresh: Map<Digest, number>,
  { threads, signal, moving }: IngestOptions,
): Promise<{
  readonly descriptor: Descriptor;
  readonly config: Digest;
  readonly blobs: readonly Descriptor[];
}> {
  const known = await knownWeights(layout);
  const inside = new Set([...known.inside.keys()].map(digestHex));
  const setup: IngestSetup = { blobs: layout.blobs, temporary: lease.folder, progress, inside };
  await using workers = startWorkers<IngestJob, IngestResult>(
    new URL("./ingest-worker.js", import.meta.url),
    {
      count: threads ?? Math.min(MAX_THREADS, availableParallelism()),
      data: setup,
      stop: () => void Atomics.store(new BigInt64Array(progress), 1, 1n),
      signal,
    },
  );
  const { config, layers, packed } = await ingestModel(layout, draft, files, workers, known, fresh, moving);
  const put = (mediaType: string, value: unknown): Promise<Descriptor> =>
    putJson(layout, lease.folder, mediaType, value, fresh);
  const weights = [...packed].map(([digest, location]) => ({ digest, ...location }));
  const manifest: Manifest = {
    schemaVersion: 2,
    mediaType: MediaType.manifest,
    artifactType: MediaType.model,
    config: await put(MediaType.config, config),
    layers: [...layers, ...(weights.length > 0 ? [await put(MediaType.locations, { weights })] : [])],
  };
  const descriptor = await put(MediaType.manifest, manifest);
  await syncFolder(layout.blobs);
  return { descriptor, config: manifest.config.digest, blobs: manifestBlobs(manifest) };
}

/**
 * Makes sure that files are what they were when they were opened.
 * @throws SourceError `source-changed`
 */
export async function refuseChanged(files: readonly FileSource[]): Promise<void> {
  for (const { name, identity } of files) {
    const stats = await stat(name).catch((cause: unknown) => {
      throw fileError(name, "look at", cause);
    });
    if (!sameIdentity(identityOf(stats), identity)) throw sourceChanged(name);
  }
}
