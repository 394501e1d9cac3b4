import { readdir, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { StoreError, TareError } from "../errors.ts";
import { modelWeights } from "../model/stored-model.ts";
import { isAbsent } from "../node/file-source.ts";
import { readTagged } from "../store/read-model.ts";
import { type Digest, digestHex, isDigest } from "../tensor/digest.ts";
import { FileCompileCache } from "./compile-cache.ts";
import { FileFoldedCache } from "./folded-cache.ts";
import { sweepLeases } from "./lease.ts";
import type { LocalStore } from "./local-store.ts";
import { withLock } from "./lock.ts";
import { markBlobs, unreadableModels } from "./mark-blobs.ts";
import { FilePrepackedCache } from "./prepacked-cache.ts";
import { readIndex, type StorePaths } from "./store-paths.ts";

/** Tolerance for the clock of a file system, which may lag behind that of the process. */
const CLOCK_SLACK_MS = 2000;

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
  /** Remove all compiled programs, prepacked and folded weights, also those in use: engines make them again on demand. */
  readonly cache?: boolean | undefined;
}

/**
 * Removes blobs that are not in use, and files of dead writers. Keeps blobs that are newer than the oldest living writer, which
 * may name them later.
 * @throws StoreError `corrupted` if the blobs of a model are unknown, `locked`
 */
export async function collect(store: LocalStore, options: GcOptions = {}): Promise<GcResult> {
  const { paths } = store;
  return withLock(paths, async (lock) => {
    const writing = await sweepLeases(paths);
    const marked = await markBlobs(paths).catch(async (cause: unknown) => {
      throw unknownBlobs(paths, await unreadableModels(paths), cause);
    });
    let blobs = 0;
    let bytes = 0;
    for (const name of await readdir(paths.blobs)) {
      const digest = `sha256:${name}`;
      const path = join(paths.blobs, name);
      if (isDigest(digest) && marked.has(digest)) continue;
      const stats = await stat(path).catch(ignoreAbsent);
      if (!stats?.isFile()) continue;
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

/** Removes the views of models that were removed or repacked. The name of a view starts with the digest of a manifest. */
async function sweepViews(paths: StorePaths): Promise<void> {
  const current = new Set((await readIndex(paths)).manifests.map((each) => digestHex(each.digest)));
  for (const name of await readdir(paths.views).catch(() => [])) {
    if (!current.has(name.slice(0, 64))) await rm(join(paths.views, name), { recursive: true, force: true });
  }
}

function ignoreAbsent(error: unknown): undefined {
  if (!isAbsent(error)) throw error;
}
