import { rm } from "node:fs/promises";
import { StoreError, TareError } from "../errors.ts";
import { modelWeights } from "../model/stored-model.ts";
import { readTagged } from "../store/read-model.ts";
import { type Digest, digestHex } from "../tensor/digest.ts";
import { FileCompileCache } from "./compile-cache.ts";
import { FileFoldedCache } from "./folded-cache.ts";
import { sweepLeases } from "./lease.ts";
import type { LocalStore } from "./local-store.ts";
import { withLock } from "./lock.ts";
import { markBlobs, unreadableModels } from "./mark-blobs.ts";
import { listOwn, requireOwnFolders } from "./own-folders.ts";
import { FilePrepackedCache } from "./prepacked-cache.ts";
import { readIndex, type StorePaths } from "./store-paths.ts";

/** Tolerance for the clock of a file system, which may lag behind that of the process. */
const CLOCK_SLACK_MS = 2000;

/** Name of a blob. */
const HEX = /^[0-9a-f]{64}$/;

/** Number and size of the blobs that a collection removed, or would remove. */
export interface GcResult {
  readonly blobs: number;
  /** Size of blobs and cache files in bytes. */
  readonly bytes: number;
}

/** Options of {@link collect}. */
export interface GcOptions {
  /** Only report what a collection would remove. */
  readonly dryRun?: boolean | undefined;
  /**
   * Remove all compiled programs, prepacked and folded weights, also those in use: engines make them again on demand.
   */
  readonly cache?: boolean | undefined;
}

/**
 * Removes blobs that are not in use, and files of dead writers. Keeps blobs that are newer than the oldest living
 * writer, which may name them later.
 * @throws StoreError `corrupted` if the blobs of a model are unknown, `locked`
 */
export async function collect(store: LocalStore, options: GcOptions = {}): Promise<GcResult> {
  const { paths } = store;
  return withLock(paths, async (lock) => {
    await requireOwnFolders(paths);
    const writing = await sweepLeases(paths, options);
    const marked = await markBlobs(paths).catch(async (cause: unknown) => {
      throw unknownBlobs(paths, await unreadableModels(paths), cause);
    });
    let blobs = 0;
    let bytes = 0;
    const isUnused = (name: string): boolean => HEX.test(name) && !marked.has(`sha256:${name}`);
    for (const { path, stats } of await listOwn(paths.blobs, isUnused, "file")) {
      if (writing !== undefined && stats.ctimeMs >= writing - CLOCK_SLACK_MS) continue;
      blobs++;
      bytes += stats.size;
      if (options.dryRun) continue;
      await lock.remove(path);
    }
    if (!options.dryRun) bytes += await sweepCaches(store, options.cache ? undefined : marked);
    return { blobs, bytes };
  });
}

/** Makes the error for blobs that cannot be judged, since they may belong to a model whose manifest cannot be read. */
function unknownBlobs(paths: StorePaths, models: readonly string[], cause: unknown): StoreError {
  const [first] = models;
  const list = models.map((name) => `"${name}"`).join(", ");
  const reason = first === undefined ? "the journal of an unfinished add" : `the manifest of ${list}`;
  return new StoreError("corrupted", `Cannot collect in "${paths.root}": ${reason} cannot be read`, {
    path: paths.root,
    cause,
    hint:
      first === undefined
        ? "Find the fault with tare verify"
        : `Repair it with tare verify --repair FROM, add the model again, or remove it with tare rm ${first}`,
  });
}

/**
 * Removes cache entries of programs and weights that are not in use.
 * @param marked blobs in use; `undefined` removes all entries
 * @returns size of the removed entries in bytes
 */
async function sweepCaches(store: LocalStore, marked: ReadonlySet<Digest> | undefined): Promise<number> {
  let { bytes } = await new FileCompileCache(store).sweep(marked ?? new Set());
  const weights = marked ? await weightsInUse(store) : new Set<Digest>();
  if (weights) {
    bytes += (await new FilePrepackedCache(store).sweep(weights)).bytes;
    bytes += (await new FileFoldedCache(store).sweep(weights)).bytes;
  }
  await sweepViews(store.paths);
  return bytes;
}

/** Collects the digests of the weights of every model; `undefined` if a model cannot be read. */
async function weightsInUse(store: LocalStore): Promise<Set<Digest> | undefined> {
  const weights = new Set<Digest>();
  for (const tag of await store.names.list()) {
    const model = await readTagged(store, tag).catch((error: unknown) => {
      if (!(error instanceof TareError)) throw error;
    });
    if (!model) return undefined;
    for (const weight of modelWeights(model.config)) weights.add(weight.digest);
  }
  return weights;
}

/**
 * Removes the views of models that were removed or repacked: folders, and files of adapters. The name of a view starts with the
 * digest of a manifest; that of an unfinished view starts with a dot.
 */
async function sweepViews(paths: StorePaths): Promise<void> {
  const current = new Set((await readIndex(paths)).manifests.map((each) => digestHex(each.digest)));
  const isUnused =
    (pattern: RegExp) =>
    (name: string): boolean =>
      pattern.test(name) && !current.has(name.slice(0, 64));
  const folder = isUnused(/^(?:[0-9a-f]{64}|\.[0-9a-f]{64}\.[0-9a-f]{12})$/);
  const file = isUnused(/^(?:[0-9a-f]{64}\.gguf|\.[0-9a-f]{64}\.gguf\.[0-9a-f]{12})$/);
  for (const { path } of await listOwn(paths.views, folder, "folder"))
    await rm(path, { recursive: true, force: true });
  for (const { path } of await listOwn(paths.views, file, "file")) await rm(path, { force: true });
}
