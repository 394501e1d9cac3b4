import { encodingOf } from "../io/byte-encoding.ts";
import { FormatError } from "../errors.ts";
import { MODEL_VERSION, type ModelConfig, type Weight } from "../model/config.ts";
import type { Digest } from "../tensor/digest.ts";
import type { ModelDraft, WeightDraft, WeightRange } from "../model/draft.ts";
import { tensorBytes } from "../tensor/dtype.ts";
import { allWeights, chooseHoles, rangeKey, restRanges } from "../model/holes.ts";
import { type Descriptor, type Location, MediaType } from "../model/manifest.ts";
import type { FileSource } from "../node/file-source.ts";
import type { WorkerPool } from "../node/worker-pool.ts";
import type { MoveImport } from "./move-import.ts";
import type { IngestJob, IngestPart, IngestResult, PackedPart } from "./ingest-job.ts";
import type { StorePaths } from "./store-paths.ts";
import type { KnownWeights } from "./known-weights.ts";

/** Weights below this share one blob. */
const MIN_BLOB_BYTES = 16 * 1024;
/** Blobs compared by their first bytes before a large weight is written: more would cost more than they save. */
const MAX_CANDIDATES = 64;

/** Files that are freed as their weights are stored. */
export interface MoveProgress {
  readonly files: MoveImport;
  /** Bytes that are freed at a time. */
  readonly stepBytes: number;
}

/** A model's config and blobs, all stored. */
export interface Stored {
  readonly config: ModelConfig;
  readonly layers: readonly Descriptor[];
  readonly packed: ReadonlyMap<Digest, Location>;
}

/**
 * Streams a draft's files into blobs: rests, one pack of the small weights, and a blob for each large one.
 * @param known what the store had before
 * @param fresh is told every blob that the store did not have, as soon as it is there, with its size
 * @param moving has what an earlier add freed, and is told what can be
 */
export async function ingestModel(
  layout: StorePaths,
  draft: ModelDraft,
  files: readonly FileSource[],
  workers: WorkerPool<IngestJob, IngestResult>,
  known: KnownWeights,
  fresh: Map<Digest, number>,
  moving?: MoveProgress,
): Promise<Stored> {
  const partOf = (at: WeightRange): IngestPart => {
    const { name: path, identity } = files[at.file] as FileSource;
    const { offset, length } = at;
    return { path, identity, offset, length, ...encodingOf(at) };
  };
  const track = ({ digest, size, fresh: isNew }: IngestResult): void => {
    if (isNew) fresh.set(digest, size);
  };

  const holes = chooseHoles(draft);
  const rests = await workers.run(
    files.map((file, index) => () => ({
      parts: restRanges(file.size, holes[index] ?? []).map((range) => partOf({ file: index, ...range })),
      pack: false,
      candidates: [],
    })),
    track,
  );
  const programs = rests.map((rest) => rest.digest);

  const stored = new Map<string, { readonly digest: Digest; readonly length: number }>();
  const ranges = [...new Map(allWeights(draft).map((weight) => [rangeKey(weight.at), weight.at])).values()];
  const small = ranges.filter((at) => at.length < MIN_BLOB_BYTES);
  const packs =
    small.length > 0 ? [(): IngestJob => ({ parts: small.map(partOf), pack: true, candidates: [] })] : [];
  const [pack] = await workers.run(packs, track);
  small.forEach((at, index) => stored.set(rangeKey(at), pack?.packed[index] as PackedPart));

  const large = ranges.filter((at) => at.length >= MIN_BLOB_BYTES);
  const namesakes = new Map(
    allWeights(draft).map((weight) => [rangeKey(weight.at), known.namesakes(weight)]),
  );
  const seen = new Map<number, Digest[]>();
  const jobOf = (at: WeightRange) => (): IngestJob => {
    const alike = (seen.get(at.length) ?? []).map((blob) => ({ blob, offset: 0 }));
    const candidates = [...(namesakes.get(rangeKey(at)) ?? []), ...alike];
    return {
      parts: [partOf(at)],
      pack: false,
      candidates: candidates.map(({ blob, offset }) => ({ path: layout.blob(blob), offset })),
    };
  };
  const results = new Map<string, IngestResult>();
  for (const { key, digest, size } of moving?.files.moved.values() ?? [])
    results.set(key, { digest, size, packed: [], fresh: false });
  const pending = large.filter((at) => !results.has(rangeKey(at)));
  for (const batch of moving ? batches(pending, moving.stepBytes) : [pending]) {
    const done = await workers.run(batch.map(jobOf), (result, index) => {
      track(result);
      const { length } = batch[index] as WeightRange;
      const alike = seen.get(length) ?? [];
      if (!alike.includes(result.digest))
        seen.set(length, [...alike.slice(1 - MAX_CANDIDATES), result.digest]);
    });
    batch.forEach((at, index) => results.set(rangeKey(at), done[index] as IngestResult));
    await moving?.files.free(
      batch.map((at, index) => {
        const { digest, size, fresh: isNew } = done[index] as IngestResult;
        const blob = (isNew ? undefined : known.inside.get(digest)?.location.blob) ?? digest;
        return { key: rangeKey(at), digest, size, blob, at };
      }),
    );
  }
  const blobs = large.map((at) => results.get(rangeKey(at)) as IngestResult);
  large.forEach((at, index) => {
    const { digest, size } = blobs[index] as IngestResult;
    stored.set(rangeKey(at), { digest, length: size });
  });

  // In the order of the files, whatever order the threads finished in: the same model is the same manifest.
  const layers = new Map<Digest, Descriptor>();
  const keep = (mediaType: string, results: readonly IngestResult[]): void => {
    for (const { digest, size } of results)
      if (!layers.has(digest)) layers.set(digest, { mediaType, digest, size });
  };
  const inside = new Map<Digest, Location>();
  for (const blob of blobs) {
    const place = blob.fresh ? undefined : known.inside.get(blob.digest);
    if (!place) keep(MediaType.weight, [blob]);
    else {
      inside.set(blob.digest, place.location);
      layers.set(place.layer.digest, place.layer);
    }
  }
  keep(MediaType.pack, pack ? [pack] : []);
  keep(MediaType.rest, rests);

  const weightOf = ({ name, dtype, shape, at }: WeightDraft): Weight => {
    const { digest, length } = stored.get(rangeKey(at)) as { digest: Digest; length: number };
    const expected = tensorBytes(dtype, shape);
    if (length !== expected) {
      const path = files[at.file]?.name;
      throw new FormatError(
        "size-mismatch",
        `Cannot read tensor "${name}" of "${path}": its shape takes ${expected} bytes, its data has ${length}`,
        { path, tensor: name, offset: at.offset },
      );
    }
    return { name, dtype, shape, digest };
  };
  const config: ModelConfig = {
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
      rest: programs[index] as Digest,
      holes: (holes[index] ?? []).map((at) => ({
        offset: at.offset,
        length: at.length,
        digest: stored.get(rangeKey(at))?.digest as Digest,
        ...encodingOf(at),
      })),
    })),
  };
  const packed = (pack?.packed ?? []).map(({ digest, offset, length }): [Digest, Location] => {
    return [digest, { blob: pack?.digest as Digest, offset, length }];
  });
  return { config, layers: [...layers.values()], packed: new Map([...inside, ...packed]) };
}

/** Ranges in stretches of about `step` bytes. */
function batches(ranges: readonly WeightRange[], step: number): WeightRange[][] {
  const all: WeightRange[][] = [];
  let size = step;
  for (const range of ranges) {
    if (size >= step) {
      all.push([]);
      size = 0;
    }
    all.at(-1)?.push(range);
    size += range.length;
  }
  return all;
}
