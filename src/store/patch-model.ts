import { StoreError } from "../errors.ts";
import { type ByteSource, type ReadOptions, sliceSource } from "../io/byte-source.ts";
import type { Progress } from "../io/progress.ts";
import type { ModelConfig, Weight } from "../model/config.ts";
import { locationOf } from "../model/location-of.ts";
import { type Descriptor, MediaType } from "../model/manifest.ts";
import { modelWeights, type StoredModel } from "../model/stored-model.ts";
import type { Digest } from "../tensor/digest.ts";
import { checkName } from "./check-name.ts";
import { findKnownWeights, type KnownWeights, type Placement } from "./known-weights.ts";
import { patchConfig, placesOf, plainPlaces, useKey, type WeightUse } from "./patched-config.ts";
import { type ManifestDraft, putManifest } from "./put-manifest.ts";
import { corruptedBlob } from "./read-blob.ts";
import { currentModel } from "./read-model.ts";
import { rereadMethods } from "./reread.ts";
import type { Store, TagOptions } from "./store.ts";
import { transact, type Transaction } from "./transaction.ts";

/** A piece of a weight: old and new bytes. */
export interface PatchedPiece {
  readonly before: Uint8Array;
  readonly after: Uint8Array;
}

/** A weight of the base model that gets new bytes. */
export interface WeightPatch {
  /** The weight in the base. */
  readonly weight: Weight;
  /** All uses that get the new bytes. */
  readonly uses: readonly WeightUse[];
  /** Computes the new bytes from the old ones, in order. Called again if the base was repacked during the patch. */
  apply(source: ByteSource, options: ReadOptions): AsyncIterable<PatchedPiece>;
}

/** A weight of the base model that is replaced by a weight of the store. */
export interface Replacement {
  /** The weight in the base. */
  readonly weight: Weight;
  /** All uses that get the other weight. */
  readonly uses: readonly WeightUse[];
  /**
   * Finds the other weight in the store. Called again, with the next number, if a model was repacked during the patch.
   */
  stored(attempt: number): Promise<Placed>;
}

/** Options of {@link patchModel}. */
export interface PatchOptions extends TagOptions {
  readonly onProgress?: ((progress: Progress) => void) | undefined;
}

/** Result of {@link patchModel}. */
export interface PatchResult {
  readonly name: string;
  /** Digest of the manifest. */
  readonly digest: Digest;
  /** Size of the blobs that the patch added to the store, in bytes. */
  readonly newBytes: number;
  /** Number of blobs that the patch added to the store. */
  readonly newBlobs: number;
  /** Size of the weights that the base has too, in bytes. */
  readonly sharedBytes: number;
}

/** Digest and location of a stored weight. */
export interface Placed extends Placement {
  readonly digest: Digest;
}

/** State of a patch while it runs. */
interface PatchWork {
  readonly store: Store;
  readonly transaction: Transaction;
  /** `undefined` if no weight gets new bytes. */
  readonly known: KnownWeights | undefined;
  readonly advance: (bytes: number) => void;
  readonly signal: AbortSignal | undefined;
}

/**
 * Makes a model from another one: the same programs and files, with some weights replaced. All other weights are
 * shared.
 * @param base the model when the patches were planned
 * @throws LinkError `unsupported` for a weight that cannot be replaced; StoreError `name-taken`, `bad-name`,
 * `corrupted`, `source-changed`; SourceError `disk-full`
 */
export async function patchModel(
  store: Store,
  base: StoredModel,
  name: string,
  patches: readonly (WeightPatch | Replacement)[],
  options: PatchOptions = {},
): Promise<PatchResult> {
  const { signal, onProgress } = options;
  checkName(name);
  const changed = patches.filter((each) => "apply" in each);
  const total = changed.reduce((sum, { weight }) => sum + lengthOf(base, weight.digest), 0);
  return transact(store, async (transaction, attempt) => {
    const model = await requireSame(store, base);
    const uses = patches.flatMap((each) => each.uses);
    const places =
      plainPlaces(model, uses) ?? placesOf(model, await rereadMethods(store, model, { signal }), uses);
    let done = 0;
    const advance = (bytes: number): void => onProgress?.({ done: (done += bytes), total });
    advance(0);
    const known = changed.length > 0 ? await findKnownWeights(store) : undefined;
    const work: PatchWork = { store, transaction, known, advance, signal };
    const placed: Placed[] = [];
    const digests = new Map<string, Digest>();
    for (const each of patches) {
      const place = "apply" in each ? await storePatched(work, model, each) : await each.stored(attempt);
      placed.push(place);
      for (const use of each.uses) digests.set(useKey(use), place.digest);
    }
    const config = patchConfig(model.config, digests, places);
    const stored = await putManifest(transaction, draftManifest(model, config, placed));
    signal?.throwIfAborted();
    const digest = await transaction.name(name, stored, options);
    const { freshBytes: newBytes, fresh } = transaction;
    return { name, digest, newBytes, newBlobs: fresh.size, sharedBytes: sharedBytes(config, model) };
  });
}

/**
 * Reads the current manifest of the base, and checks that the model is the same.
 * @throws StoreError `source-changed`
 */
async function requireSame(store: Store, base: StoredModel): Promise<StoredModel> {
  const model = await currentModel(store, base);
  if (model.manifest.config.digest === base.manifest.config.digest) return model;
  throw new StoreError("source-changed", `Cannot patch "${base.name}": another model took its name`, {
    digest: base.digest,
    hint: "Try again",
  });
}

/** Computes the new bytes of a weight and stores them, unless a shard of the store has them already. */
async function storePatched(work: PatchWork, base: StoredModel, patch: WeightPatch): Promise<Placed> {
  await using staged = await work.transaction.stage(patchedBytes(work, base, patch));
  const { digest, size } = staged;
  const inside = work.known?.inside.get(digest);
  if (inside) return { digest, ...inside };
  await staged.commit(digest);
  const location = { blob: digest, offset: 0, length: size };
  return { digest, location, layer: { mediaType: MediaType.weight, digest, size } };
}

/** Streams a weight through its patch, and checks the old bytes against their digest. */
async function* patchedBytes(
  { store, advance, signal }: PatchWork,
  base: StoredModel,
  patch: WeightPatch,
): AsyncGenerator<Uint8Array, void, undefined> {
  const { weight } = patch;
  const { blob, offset, length } = locationOf(base, weight.digest, {
    doing: `patch "${base.name}"`,
    weight: weight.name,
  });
  await using source = await store.blobs.open(blob);
  const old = store.createDigest();
  let size = 0;
  for await (const { before, after } of patch.apply(sliceSource(source, offset, length), { signal })) {
    signal?.throwIfAborted();
    old.update(before);
    size += after.byteLength;
    yield after;
    advance(after.byteLength);
  }
  if (old.digest() !== weight.digest) {
    throw corruptedBlob(
      `the blob of weight "${weight.name}"`,
      "its bytes do not have the digest of the weight",
      {
        path: source.name,
        tensor: weight.name,
        digest: weight.digest,
        offset,
      },
    );
  }
  if (size !== length) throw new RangeError(`"${weight.name}" was patched to ${size} bytes, not ${length}`);
}

/** Drafts the manifest of the new model with the layers that its config needs. */
function draftManifest(base: StoredModel, config: ModelConfig, placed: readonly Placed[]): ManifestDraft {
  const used = new Set(modelWeights(config).map((weight) => weight.digest));
  const all = [...base.locations, ...placed.map(({ digest, location }) => [digest, location] as const)];
  const locations = new Map(all.filter(([digest]) => used.has(digest)));
  const blobs = new Set([...locations.values()].map((location) => location.blob));
  for (const file of config.files) blobs.add(file.skeleton);
  const layers = [...base.manifest.layers, ...placed.map((each) => each.layer)].filter((layer) =>
    blobs.delete(layer.digest),
  );
  // A bundle of one weight has the digest of that weight, but needs an entry in the table of locations.
  const isWeight = ({ mediaType }: Descriptor): boolean => mediaType === MediaType.weight;
  const weights = new Set(layers.filter(isWeight).map((layer) => layer.digest));
  const inside = new Map([...locations].filter(([digest]) => !weights.has(digest)));
  return { config, layers, inside, base: base.manifest };
}

function sharedBytes(config: ModelConfig, base: StoredModel): number {
  const digests = new Set(modelWeights(config).map((weight) => weight.digest));
  return [...digests].reduce((sum, digest) => sum + lengthOf(base, digest), 0);
}

function lengthOf(base: StoredModel, digest: Digest): number {
  return base.locations.get(digest)?.length ?? 0;
}
