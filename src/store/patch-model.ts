import { StoreError } from "../errors.ts";
import { type ByteSource, type ReadOptions, sliceSource } from "../io/byte-source.ts";
import type { Progress } from "../io/progress.ts";
import type { ModelConfig, Weight } from "../model/config.ts";
import { type Descriptor, type Location, MediaType } from "../model/manifest.ts";
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
  /** Makes them of the old ones, all in order; called again if the base was repacked meanwhile. */
  apply(source: ByteSource, options: ReadOptions): AsyncIterable<PatchedPiece>;
}

/** A weight of a base that is to have bytes which the store has already. */
export interface Replacement {
  /** As the base has it. */
  readonly weight: Weight;
  /** Every use that gets them. */
  readonly uses: readonly WeightUse[];
  /** Finds them in the store; called again with the next number if something was repacked meanwhile. */
  stored(attempt: number): Promise<Placed>;
}

/** Options of {@link patchModel}. */
export interface PatchOptions extends TagOptions {
  readonly onProgress?: ((progress: Progress) => void) | undefined;
}

/** What a patch did. */
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

/** A weight by its digest, and where its bytes are. */
export interface Placed extends Placement {
  readonly digest: Digest;
}

/** What patches are applied with. */
interface PatchWork {
  readonly store: Store;
  readonly transaction: Transaction;
  /** `undefined` where no weight gets new bytes. */
  readonly known: KnownWeights | undefined;
  readonly advance: (bytes: number) => void;
  readonly signal: AbortSignal | undefined;
}

/**
 * Makes a model of another: the same programs and files, with some weights replaced. Everything else is shared.
 * @param base as it was when the patches were planned
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

/** The base with the manifest that it has now. */
async function requireSame(store: Store, base: StoredModel): Promise<StoredModel> {
  const model = await currentModel(store, base);
  if (model.manifest.config.digest === base.manifest.config.digest) return model;
  throw new StoreError("source-changed", `Cannot go on with "${base.name}": another model took its name`, {
    digest: base.digest,
    hint: "try again",
  });
}

/** Makes and stores the new bytes of a weight, unless a shard of the store has them already. */
async function storePatched(work: PatchWork, base: StoredModel, patch: WeightPatch): Promise<Placed> {
  await using staged = await work.transaction.stage(patchedBytes(work, base, patch));
  const { digest, size } = staged;
  const inside = work.known?.inside.get(digest);
  if (inside) return { digest, ...inside };
  await staged.commit(digest);
  const location = { blob: digest, offset: 0, length: size };
  return { digest, location, layer: { mediaType: MediaType.weight, digest, size } };
}

/** Streams a weight through its patch; its old bytes are checked against their digest on the way. */
async function* patchedBytes(
  { store, advance, signal }: PatchWork,
  base: StoredModel,
  patch: WeightPatch,
): AsyncGenerator<Uint8Array, void, undefined> {
  const { weight } = patch;
  const { blob, offset, length } = base.locations.get(weight.digest) as Location;
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
    throw corruptedBlob(`the blob of weight "${weight.name}"`, "it is damaged", {
      path: source.name,
      tensor: weight.name,
      digest: weight.digest,
      offset,
    });
  }
  if (size !== length) throw new RangeError(`"${weight.name}" was patched to ${size} bytes, not ${length}`);
}

/** The manifest of the new model: of all layers, those that its config needs. */
function draftManifest(base: StoredModel, config: ModelConfig, placed: readonly Placed[]): ManifestDraft {
  const used = new Set(modelWeights(config).map((weight) => weight.digest));
  const all = [...base.locations, ...placed.map(({ digest, location }) => [digest, location] as const)];
  const locations = new Map(all.filter(([digest]) => used.has(digest)));
  const blobs = new Set([...locations.values()].map((location) => location.blob));
  for (const file of config.files) blobs.add(file.skeleton);
  const layers = [...base.manifest.layers, ...placed.map((each) => each.layer)].filter((layer) =>
    blobs.delete(layer.digest),
  );
  // A pack of one weight has that weight's digest, and its layer does not say where the weight is.
  const isWhole = ({ mediaType }: Descriptor): boolean => mediaType === MediaType.weight;
  const whole = new Set(layers.filter(isWhole).map((layer) => layer.digest));
  const inside = new Map([...locations].filter(([digest]) => !whole.has(digest)));
  return { config, layers, inside, base: base.manifest };
}

function sharedBytes(config: ModelConfig, base: StoredModel): number {
  const digests = new Set(modelWeights(config).map((weight) => weight.digest));
  return [...digests].reduce((sum, digest) => sum + lengthOf(base, digest), 0);
}

function lengthOf(base: StoredModel, digest: Digest): number {
  return base.locations.get(digest)?.length ?? 0;
}
