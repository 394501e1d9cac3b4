import { createHash } from "node:crypto";
import { type FileHandle, open, rm } from "node:fs/promises";
import { join } from "node:path";
import { type ByteSource, type ReadOptions, sliceSource } from "../io/byte-source.ts";
import { StoreError } from "../errors.ts";
import type { ModelConfig, Weight } from "../model/config.ts";
import { type Digest, digestHex } from "../tensor/digest.ts";
import { type Descriptor, type Location, type Manifest, MediaType } from "../model/manifest.ts";
import { manifestBlobs, modelWeights, type StoredModel } from "../model/stored-model.ts";
import { syncFolder } from "../node/atomic-write.ts";
import { fileError } from "../node/file-source.ts";
import type { Progress } from "../node/progress.ts";
import { rereadMethods } from "./reread.ts";
import { putJson } from "./blobs.ts";
import { patchConfig, placesOf, plainPlaces, useKey, type WeightUse } from "./patched-config.ts";
import type { FileStore } from "./file-store.ts";
import { discard, missingBlobs } from "./gc.ts";
import { checkName, writeTag } from "./tags.ts";
import { knownWeights, type KnownWeights } from "./known-weights.ts";
import type { StorePaths } from "./store-paths.ts";
import { type Lease, openLease, sweepLeases } from "./lease.ts";
import { withLock } from "./lock.ts";
import { commitBlobSync } from "./commit-blob.ts";

/** Blobs may move while they are read: another process lays them out anew, or collects. */
const ATTEMPTS = 4;

/** A piece of a weight: what it was and what it becomes. */
export interface PatchedPiece {
  readonly before: Uint8Array;
  readonly after: Uint8Array;
}

/** A weight of a base that is to have other bytes. */
export interface WeightPatch {
  /** As the base has it. */
  readonly weight: Weight;
  /** Every use that gets the new bytes. */
  readonly uses: readonly WeightUse[];
  /** Makes them of the old ones, all in order; called again where the base moved meanwhile. */
  apply(source: ByteSource, options: ReadOptions): AsyncIterable<PatchedPiece>;
}

/** A weight of a base that is to have bytes which the store has already. */
export interface Replacement {
  /** As the base has it. */
  readonly weight: Weight;
  /** Every use that gets them. */
  readonly uses: readonly WeightUse[];
  /** Says where they lie; asked again, with another number, where something moved meanwhile. */
  stored(attempt: number): Promise<Placed>;
}

/** Options of {@link patchModel}. */
export interface PatchOptions {
  /** Give the name to this model though another has it. */
  readonly replace?: boolean | undefined;
  readonly onProgress?: ((progress: Progress) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** What a derivation did. */
export interface PatchResult {
  readonly name: string;
  /** Of the manifest. */
  readonly digest: Digest;
  /** Bytes that the store did not have. */
  readonly newBytes: number;
  /** Blobs that the store did not have. */
  readonly newBlobs: number;
  /** Bytes of weights that the base has too. */
  readonly sharedBytes: number;
}

/** Where the bytes of a weight lie, and the layer of a manifest that they lie in. */
export interface Placed {
  readonly digest: Digest;
  readonly location: Location;
  readonly layer: Descriptor;
}

/** What a derivation works with. */
interface Work {
  readonly store: FileStore;
  readonly lease: Lease;
  /** `undefined` where nothing is derived. */
  readonly known: KnownWeights | undefined;
  /** Blobs that the store did not have, with their sizes. */
  readonly fresh: Map<Digest, number>;
  readonly advance: (bytes: number) => void;
  readonly signal: AbortSignal | undefined;
}

/**
 * Makes a model of another: the same programs and files, some weights replaced. Whatever is not replaced is shared.
 * Written as {@link addModel} writes: until the name is given, at the end, nothing is visible, and on failure the
 * store is as it was.
 * @param base as it was when the derivations were planned
 * @throws LinkError `unsupported` for a weight that cannot be replaced; StoreError `name-taken`, `bad-name`,
 * `corrupted`; SourceError `disk-full`
 */
export async function patchModel(
  store: FileStore,
  base: StoredModel,
  name: string,
  derivations: readonly (WeightPatch | Replacement)[],
  options: PatchOptions = {},
): Promise<PatchResult> {
  const { layout } = store;
  const { signal, replace = false } = options;
  checkName(name);
  const uses = derivations.flatMap((each) => each.uses);
  await sweepLeases(layout);
  await using lease = await openLease(layout);
  const fresh = new Map<Digest, number>();
  const total = derivations.reduce(
    (sum, each) => sum + ("apply" in each ? lengthOf(base, each.weight) : 0),
    0,
  );
  try {
    for (let attempt = 1; ; attempt++) {
      try {
        const model = await sameModel(store, base);
        const places =
          plainPlaces(model, uses) ?? placesOf(model, await rereadMethods(store, model, { signal }), uses);
        let done = 0;
        const advance = (bytes: number): void => options.onProgress?.({ done: (done += bytes), total });
        advance(0);
        // What is in the store already has said where.
        const known = derivations.some((each) => "apply" in each) ? await knownWeights(layout) : undefined;
        const placed = new Map<WeightPatch | Replacement, Placed>();
        const work: Work = { store, lease, known, fresh, advance, signal };
        for (const each of derivations) {
          placed.set(
            each,
            "apply" in each ? await placeWeight(work, model, each) : await each.stored(attempt),
          );
        }
        const digests = new Map<string, Digest>();
        for (const [{ uses: those }, { digest }] of placed) {
          for (const use of those) digests.set(useKey(use), digest);
        }
        const config = patchConfig(model.config, digests, places);
        const { manifest, descriptor } = await putModel(work, model, config, [...placed.values()]);
        signal?.throwIfAborted();
        const digest = await withLock(layout, async (assertHeld) => {
          const needs = [descriptor, ...manifestBlobs(manifest)];
          const [missing] = await missingBlobs(layout, needs);
          if (missing) throw vanished(layout, name, missing.digest);
          assertHeld();
          return writeTag(layout, name, { manifest: descriptor, config: manifest.config.digest, replace });
        });
        if (digest !== descriptor.digest) {
          // The name had this model, its bytes laid out in another way: what was written for this one is of no use.
          await discard(layout, fresh.keys());
          fresh.clear();
        }
        return {
          name,
          digest,
          newBytes: [...fresh.values()].reduce((sum, size) => sum + size, 0),
          newBlobs: fresh.size,
          sharedBytes: sharedBytes(config, model),
        };
      } catch (error) {
        if (attempt === ATTEMPTS || !(error instanceof StoreError) || error.code !== "missing-blob")
          throw error;
      }
    }
  } catch (error) {
    await discard(layout, fresh.keys()).catch(() => undefined);
    throw error instanceof Error && "syscall" in error ? fileError(layout.root, "write", error) : error;
  }
}

/** The base as it lies now. */
async function sameModel(store: FileStore, base: StoredModel): Promise<StoredModel> {
  const model = await store.current(base);
  if (model.manifest.config.digest === base.manifest.config.digest) return model;
  throw new StoreError("source-changed", `Cannot go on with "${base.name}": another model took its name`, {
    digest: base.digest,
    hint: "try again",
  });
}

/** Derives one weight and stores it, unless it is in a shard of the store already. */
async function placeWeight(work: Work, base: StoredModel, derivation: WeightPatch): Promise<Placed> {
  const { store, lease, known, fresh } = work;
  const temporary = join(lease.folder, `derived-${digestHex(derivation.weight.digest)}`);
  const handle = await open(temporary, "w", 0o600);
  try {
    const { digest, size } = await writePatched(work, base, derivation, handle);
    const inside = known?.inside.get(digest);
    if (inside) return { digest, ...inside };
    if (commitBlobSync(handle.fd, temporary, store.layout.blob(digest))) fresh.set(digest, size);
    const location = { blob: digest, offset: 0, length: size };
    return { digest, location, layer: { mediaType: MediaType.weight, digest, size } };
  } finally {
    await handle.close();
    await rm(temporary, { force: true });
  }
}

/** Streams a weight through its derivation; what it was is checked against its digest on the way. */
async function writePatched(
  { store, advance, signal }: Work,
  base: StoredModel,
  derivation: WeightPatch,
  handle: FileHandle,
): Promise<{ readonly digest: Digest; readonly size: number }> {
  const { weight } = derivation;
  const { blob, offset, length } = base.locations.get(weight.digest) as Location;
  await using source = await store.openBlob(blob);
  const [old, hash] = [createHash("sha256"), createHash("sha256")];
  let size = 0;
  for await (const { before, after } of derivation.apply(sliceSource(source, offset, length), { signal })) {
    signal?.throwIfAborted();
    old.update(before);
    hash.update(after);
    await handle.appendFile(after);
    size += after.byteLength;
    advance(after.byteLength);
  }
  if (`sha256:${old.digest("hex")}` !== weight.digest) {
    throw new StoreError("corrupted", `Cannot use the blob of weight "${weight.name}": it is damaged`, {
      path: store.layout.blob(blob),
      tensor: weight.name,
      digest: weight.digest,
      offset,
      hint: "add the model's original files again: tare add replaces damaged blobs",
    });
  }
  if (size !== length) {
    throw new RangeError(`"${weight.name}" was derived to ${size} bytes instead of ${length}`);
  }
  return { digest: `sha256:${hash.digest("hex")}`, size };
}

/** Stores config, locations and manifest. */
async function putModel(
  { store, lease, fresh }: Work,
  base: StoredModel,
  config: ModelConfig,
  placed: readonly Placed[],
): Promise<{ readonly manifest: Manifest; readonly descriptor: Descriptor }> {
  const put = (mediaType: string, value: unknown): Promise<Descriptor> =>
    putJson(store.layout, lease.folder, mediaType, value, fresh);
  const used = new Set(modelWeights(config).map((weight) => weight.digest));
  const everywhere = [
    ...base.locations,
    ...placed.map(({ digest, location }) => [digest, location] as const),
  ];
  const locations = new Map(everywhere.filter(([digest]) => used.has(digest)));
  const blobs = new Set([...locations.values()].map((location) => location.blob));
  for (const file of config.files) blobs.add(file.rest);
  const layers = [...base.manifest.layers, ...placed.map((each) => each.layer)].filter((layer) =>
    blobs.delete(layer.digest),
  );
  // A pack of one weight has that weight's digest, and is no layer that says where it lies.
  const whole = new Set(
    layers.filter((layer) => layer.mediaType === MediaType.weight).map((layer) => layer.digest),
  );
  const weights = [...locations]
    .filter(([digest]) => !whole.has(digest))
    .map(([digest, location]) => ({ digest, ...location }));
  const table = weights.length > 0 ? [await put(MediaType.locations, { weights })] : [];
  const manifest: Manifest = {
    ...base.manifest,
    config: await put(MediaType.config, config),
    layers: [...layers, ...table],
  };
  const descriptor = await put(MediaType.manifest, manifest);
  await syncFolder(store.layout.blobs);
  return { manifest, descriptor };
}

function lengthOf(base: StoredModel, weight: Weight): number {
  return base.locations.get(weight.digest)?.length ?? 0;
}

function sharedBytes(config: ModelConfig, base: StoredModel): number {
  const digests = new Set(modelWeights(config).map((weight) => weight.digest));
  return [...digests].reduce((sum, digest) => sum + (base.locations.get(digest)?.length ?? 0), 0);
}

function vanished(layout: StorePaths, name: string, digest: Digest): StoreError {
  return new StoreError("missing-blob", `Cannot store "${name}": blob ${digest} vanished`, {
    path: layout.root,
    digest,
    hint: "something else removes blobs from the store; stop it and try again",
  });
}
