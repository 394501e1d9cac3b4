import { readdir, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { StoreError, TareError } from "../errors.ts";
import { type Digest, digestHex, isDigest } from "../tensor/digest.ts";
import { type Descriptor, type ImageIndex, MediaType, parseIndex, parseManifest } from "../model/manifest.ts";
import { modelWeights } from "../model/stored-model.ts";
import { isAbsent } from "../node/file-source.ts";
import { readJsonBlob, statBlob } from "./blobs.ts";
import { movedBlobs } from "./move-journal.ts";
import { FileCompileCache } from "./compile-cache.ts";
import { FileFoldedCache } from "./folded-cache.ts";
import { listTags } from "./tags.ts";
import { readIndex, type StorePaths } from "./store-paths.ts";
import { sweepLeases } from "./lease.ts";
import { withLock } from "./lock.ts";
import { FilePrepackedCache } from "./prepacked-cache.ts";
import { isWholeSync } from "./commit-blob.ts";
import { readStoredModel } from "./read-model.ts";

/** File systems stamp changes with a clock that may lag the process's. */
const CLOCK_SLACK_MS = 2000;

/** What a collection removed, or would remove. */
export interface GcResult {
  readonly blobs: number;
  /** In bytes. */
  readonly bytes: number;
}

/** Options of {@link collect}. */
export interface GcOptions {
  /** Only say what would go. */
  readonly dryRun?: boolean | undefined;
  /** Drop every compiled program, packed and derived weight, those in use too: they are made again when needed. */
  readonly cache?: boolean | undefined;
}

/**
 * Every blob that something needs: models, whatever other OCI tools put there, and files that went into the store but
 * are no model yet.
 * @throws StoreError if a manifest cannot be read: then nobody can tell what it needs
 */
export async function markBlobs(layout: StorePaths, index?: ImageIndex): Promise<Set<Digest>> {
  const marked = new Set<Digest>();
  const visit = async (descriptor: Descriptor): Promise<void> => {
    if (marked.has(descriptor.digest)) return;
    marked.add(descriptor.digest);
    const { mediaType } = descriptor;
    const name = `manifest ${descriptor.digest}`;
    if (mediaType === MediaType.index || mediaType.endsWith("manifest.list.v2+json")) {
      const nested = parseIndex(await readJsonBlob(layout, descriptor.digest), name);
      for (const each of nested.manifests) await visit(each);
    } else {
      const manifest = parseManifest(await readJsonBlob(layout, descriptor.digest), name);
      for (const each of [manifest.config, ...manifest.layers]) marked.add(each.digest);
    }
  };
  for (const each of (index ?? (await readIndex(layout))).manifests) await visit(each);
  for (const digest of await movedBlobs(layout)) marked.add(digest);
  return marked;
}

/**
 * Removes blobs that nothing needs, and what dead writers left. What a living writer has stored since it began is
 * kept: it is about to be named.
 */
export async function collect(layout: StorePaths, options: GcOptions = {}): Promise<GcResult> {
  return withLock(layout, async (assertHeld) => {
    const writing = await sweepLeases(layout);
    const marked = await markBlobs(layout).catch((cause: unknown) => {
      const reason = "a manifest, or the journal of an unfinished add, cannot be read";
      throw new StoreError("corrupted", `Cannot collect in "${layout.root}": ${reason}`, {
        path: layout.root,
        cause,
        hint: "tare verify says which; remove that model or add it again",
      });
    });
    let blobs = 0;
    let bytes = 0;
    for (const name of await readdir(layout.blobs)) {
      const digest = `sha256:${name}`;
      const path = join(layout.blobs, name);
      if (isDigest(digest) && marked.has(digest)) continue;
      const stats = await stat(path).catch(ignoreAbsent);
      if (!stats?.isFile()) continue;
      if (writing !== undefined && stats.ctimeMs >= writing - CLOCK_SLACK_MS) continue;
      blobs++;
      bytes += stats.size;
      if (options.dryRun) continue;
      assertHeld();
      await rm(path, { force: true });
    }
    if (!options.dryRun) {
      const { bytes: compiled } = await new FileCompileCache(layout).sweep(
        options.cache ? new Set() : marked,
      );
      bytes += compiled;
      const weights = options.cache ? new Set<Digest>() : await weightsInUse(layout);
      if (weights) {
        bytes += (await new FilePrepackedCache(layout).sweep(weights)).bytes;
        bytes += (await new FileFoldedCache(layout).sweep(weights)).bytes;
      }
      await sweepViews(layout);
    }
    return { blobs, bytes };
  });
}

/** Digests of the weights of every model; `undefined` where one cannot be read, and nobody can tell what it needs. */
async function weightsInUse(layout: StorePaths): Promise<Set<Digest> | undefined> {
  const weights = new Set<Digest>();
  for (const { name, digest } of await listTags(layout)) {
    const model = await readStoredModel(layout, name, digest).catch((error: unknown) => {
      if (!(error instanceof TareError)) throw error;
    });
    if (!model) return undefined;
    for (const weight of modelWeights(model.config)) weights.add(weight.digest);
  }
  return weights;
}

/** Drops the views of models that are gone or were laid out anew; a view is named after its model's manifest. */
async function sweepViews(layout: StorePaths): Promise<void> {
  const current = new Set((await readIndex(layout)).manifests.map((each) => digestHex(each.digest)));
  for (const name of await readdir(layout.views).catch(() => [])) {
    if (!current.has(name.slice(0, 64))) await rm(join(layout.views, name), { recursive: true, force: true });
  }
}

/** Takes back what a writer that failed had stored, unless something needs it by now. */
export async function discard(layout: StorePaths, fresh: Iterable<Digest>): Promise<void> {
  await withLock(layout, async () => {
    const marked = await markBlobs(layout);
    for (const digest of fresh) if (!marked.has(digest)) await rm(layout.blob(digest), { force: true });
  });
}

/** Blobs of `needed` that are absent or not of their size. */
export async function missingBlobs(layout: StorePaths, needed: readonly Descriptor[]): Promise<Descriptor[]> {
  const missing: Descriptor[] = [];
  for (const descriptor of needed) {
    if (isWholeSync(layout.blob(descriptor.digest), descriptor.size)) continue;
    const stats = await statBlob(layout, descriptor.digest);
    if (stats?.size !== descriptor.size) missing.push(descriptor);
  }
  return missing;
}

function ignoreAbsent(error: unknown): undefined {
  if (!isAbsent(error)) throw error;
}
