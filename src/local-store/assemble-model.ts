import { FormatError } from "../errors.ts";
import { encodingOf } from "../io/byte-encoding.ts";
import { MODEL_VERSION, type ModelConfig, type Weight } from "../model/config.ts";
import type { ModelDraft, WeightDraft } from "../model/draft.ts";
import { rangeKey } from "../model/holes.ts";
import { type Descriptor, type Location, MediaType } from "../model/manifest.ts";
import type { KnownWeights } from "../store/known-weights.ts";
import type { ManifestDraft } from "../store/put-manifest.ts";
import type { Digest } from "../tensor/digest.ts";
import { tensorBytes } from "../tensor/dtype.ts";
import type { IngestResult, BundledPart } from "./ingest-job.ts";
import type { Ingested } from "./ingest-model.ts";

/** Digest and length of the decoded bytes of each range, by {@link rangeKey}. */
type StoredRanges = ReadonlyMap<string, { readonly digest: Digest; readonly length: number }>;

/**
 * Makes a model's config and layers from its blobs. The result does not depend on the order in which threads finished.
 * @param known weights that the store had before
 * @throws FormatError `size-mismatch` for a weight whose bytes do not have the size of its shape
 */
export function assembleModel(draft: ModelDraft, ingested: Ingested, known: KnownWeights): ManifestDraft {
  const { bundle, small, large } = ingested;
  const stored: StoredRanges = new Map([
    ...small.map((at, index) => [rangeKey(at), bundle?.bundled[index] as BundledPart] as const),
    ...[...large].map(([key, { digest, size }]) => [key, { digest, length: size }] as const),
  ]);
  return { config: configOf(draft, ingested, stored), ...layersOf(ingested, known) };
}

function configOf(draft: ModelDraft, { holes, skeletons }: Ingested, stored: StoredRanges): ModelConfig {
  const weightOf = (weight: WeightDraft): Weight => checkedWeight(draft, weight, stored);
  return {
    version: MODEL_VERSION,
    format: draft.format,
    methods: draft.methods.map((method) => ({
      name: method.name,
      file: method.file,
      weights: method.weights.map(weightOf),
      constants: method.constants.map(weightOf),
    })),
    files: draft.files.map(({ path, source }, index) => ({
      path,
      size: source.size,
      skeleton: (skeletons[index] as IngestResult).digest,
      holes: (holes[index] ?? []).map((at) => ({
        offset: at.offset,
        length: at.length,
        digest: stored.get(rangeKey(at))?.digest as Digest,
        ...encodingOf(at),
      })),
    })),
  };
}

function checkedWeight(draft: ModelDraft, weight: WeightDraft, stored: StoredRanges): Weight {
  const { name, dtype, shape, at } = weight;
  const { digest, length } = stored.get(rangeKey(at)) as { digest: Digest; length: number };
  const expected = tensorBytes(dtype, shape);
  if (length === expected) return { name, dtype, shape, digest };
  const path = draft.files[at.file]?.source.name;
  throw new FormatError(
    "size-mismatch",
    `Cannot read tensor "${name}" of "${path}": its shape takes ${expected} bytes, its data has ${length}`,
    { path, tensor: name, offset: at.offset },
  );
}

/** Lists the layers, each once. Large weights inside a shard of the store stay there. */
function layersOf(
  { skeletons, bundle, large }: Ingested,
  known: KnownWeights,
): Pick<ManifestDraft, "layers" | "inside"> {
  const layers = new Map<Digest, Descriptor>();
  const inside = new Map<Digest, Location>();
  const add = (mediaType: string, { digest, size }: IngestResult): void => {
    if (!layers.has(digest)) layers.set(digest, { mediaType, digest, size });
  };
  for (const blob of large.values()) {
    const place = blob.inside ? known.inside.get(blob.digest) : undefined;
    if (!place) add(MediaType.weight, blob);
    else {
      inside.set(blob.digest, place.location);
      layers.set(place.layer.digest, place.layer);
    }
  }
  if (bundle) {
    add(MediaType.bundle, bundle);
    for (const { digest, offset, length } of bundle.bundled)
      inside.set(digest, { blob: bundle.digest, offset, length });
  }
  for (const skeleton of skeletons) add(MediaType.skeleton, skeleton);
  return { layers: [...layers.values()], inside };
}
