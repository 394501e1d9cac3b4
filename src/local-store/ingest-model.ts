import { encodingOf } from "../io/byte-encoding.ts";
import type { ModelDraft, WeightRange } from "../model/draft.ts";
import { allWeights, chooseHoles, rangeKey, skeletonRanges } from "../model/holes.ts";
import { type FileSource, openFileSource } from "../node/file-source.ts";
import type { WorkerPool } from "../node/worker-pool.ts";
import type { KnownWeights } from "../store/known-weights.ts";
import type { Digest } from "../tensor/digest.ts";
import type { Candidate, IngestJob, IngestPart, IngestResult } from "./ingest-job.ts";
import type { MoveImport } from "./move-import.ts";
import type { MovedWeight } from "./move-journal.ts";

/** Weights below this size share one blob. */
const MIN_BLOB_BYTES = 16 * 1024;
/** Number of blobs of the same length whose first bytes are compared with a large weight before it is written. */
const MAX_CANDIDATES = 64;

/** A model whose files are freed as their weights are stored. */
export interface MoveProgress {
  readonly files: MoveImport;
  /** Bytes that are freed per step. */
  readonly stepBytes: number;
}

/** Input of {@link ingestModel}. */
export interface Ingest {
  readonly draft: ModelDraft<FileSource>;
  readonly workers: WorkerPool<IngestJob, IngestResult>;
  /** Weights that the store had before. */
  readonly known: KnownWeights;
  readonly blobPath: (digest: Digest) => string;
  /** Called with each blob after its commit, or after the store's copy was compared. */
  readonly onBlob: (blob: IngestResult) => void;
  /** Makes the committed blobs durable, before ranges of files are freed. */
  readonly sync: () => Promise<void>;
  readonly moving?: MoveProgress | undefined;
}

/** The stored blobs of a draft. */
export interface Ingested {
  /** Holes of each file. */
  readonly holes: readonly (readonly WeightRange[])[];
  /** Skeleton of each file. */
  readonly skeletons: readonly IngestResult[];
  /** The small weights in one blob; `bundled` is in the order of `small`. */
  readonly bundle: IngestResult | undefined;
  readonly small: readonly WeightRange[];
  /** The large weights in the order of the draft, by {@link rangeKey}. */
  readonly large: ReadonlyMap<string, IngestResult>;
}

/** Streams a draft's files into blobs: skeletons, one bundle of the small weights, and a blob for each large weight. */
export async function ingestModel(ingest: Ingest): Promise<Ingested> {
  const { draft, workers, onBlob } = ingest;
  const holes = chooseHoles(draft);
  const skeletons = await workers.run(
    draft.files.map(({ source }, file) => () => {
      const ranges = skeletonRanges(source.size, holes[file] ?? []);
      return jobOf(
        draft,
        ranges.map((range) => ({ file, ...range })),
      );
    }),
    onBlob,
  );
  const ranges = [...new Map(allWeights(draft).map(({ at }) => [rangeKey(at), at])).values()];
  const small = ranges.filter((at) => at.length < MIN_BLOB_BYTES);
  const bundles = small.length > 0 ? [() => ({ ...jobOf(draft, small), bundle: true })] : [];
  const [bundle] = await workers.run(bundles, onBlob);
  const large = await ingestLarge(
    ingest,
    ranges.filter((at) => at.length >= MIN_BLOB_BYTES),
  );
  return { holes, skeletons, bundle, small, large };
}

/** Makes a blob of each range. If files are moved, it works in steps, and frees the ranges after each step. */
async function ingestLarge(
  ingest: Ingest,
  ranges: readonly WeightRange[],
): Promise<Map<string, IngestResult>> {
  const { draft, workers, known, blobPath, onBlob, sync, moving } = ingest;
  const candidates = new Candidates(draft, known);
  const results = await takeMoved(ingest, moving?.files.moved.values() ?? []);
  const pending = ranges.filter((at) => !results.has(rangeKey(at)));
  for (const step of moving ? stepsOf(pending, moving.stepBytes) : [pending]) {
    const jobs = step.map((at) => () => jobOf(draft, [at], candidates.of(at, blobPath)));
    const done = await workers.run(jobs, (result, index) => {
      onBlob(result);
      candidates.add((step[index] as WeightRange).length, result.digest);
    });
    step.forEach((at, index) => results.set(rangeKey(at), done[index] as IngestResult));
    if (!moving) continue;
    await sync();
    await moving.files.free(
      step.map((at, index) => {
        const { digest, size, inside } = done[index] as IngestResult;
        const place = inside ? known.inside.get(digest)?.location : undefined;
        const within = place && { blob: place.blob, offset: place.offset };
        return { key: rangeKey(at), digest, size, ...(within ?? { blob: digest }), at };
      }),
    );
  }
  return new Map(ranges.map((at) => [rangeKey(at), results.get(rangeKey(at)) as IngestResult]));
}

/**
 * Finds the weights that an interrupted move freed. A weight inside a shard that no model uses any more gets a blob of its own,
 * since a manifest cannot refer to such a shard.
 */
async function takeMoved(
  { workers, known, blobPath, onBlob }: Ingest,
  moved: Iterable<MovedWeight>,
): Promise<Map<string, IngestResult>> {
  const results = new Map<string, IngestResult>();
  const stranded: (MovedWeight & { readonly offset: number })[] = [];
  for (const each of moved) {
    const { key, digest, size, blob, offset } = each;
    if (blob !== digest && offset !== undefined && !known.inside.has(digest))
      stranded.push({ ...each, offset });
    else results.set(key, { digest, size, bundled: [], fresh: false, inside: blob !== digest });
  }
  const jobs = await Promise.all(
    stranded.map(async ({ digest, size, blob, offset }): Promise<IngestJob> => {
      await using source = await openFileSource(blobPath(blob));
      const part = { path: source.name, identity: source.identity, offset, length: size, digest };
      return { parts: [part], bundle: false, candidates: [] };
    }),
  );
  const done = await workers.run(
    jobs.map((job) => () => job),
    onBlob,
  );
  stranded.forEach(({ key }, index) => results.set(key, done[index] as IngestResult));
  return results;
}

/** Blobs that may have the same bytes as a range: weights of the same name, and of the same length in this model. */
class Candidates {
  readonly #namesakes: ReadonlyMap<string, readonly { readonly blob: Digest; readonly offset: number }[]>;
  readonly #byLength = new Map<number, Digest[]>();

  constructor(draft: ModelDraft, known: KnownWeights) {
    this.#namesakes = new Map(
      allWeights(draft).map((weight) => [rangeKey(weight.at), known.namesakes(weight)]),
    );
  }

  of(at: WeightRange, blobPath: (digest: Digest) => string): Candidate[] {
    const alike = (this.#byLength.get(at.length) ?? []).map((blob) => ({ blob, offset: 0 }));
    const all = [...(this.#namesakes.get(rangeKey(at)) ?? []), ...alike];
    return all.map(({ blob, offset }) => ({ path: blobPath(blob), offset }));
  }

  add(length: number, digest: Digest): void {
    const alike = this.#byLength.get(length) ?? [];
    if (!alike.includes(digest)) this.#byLength.set(length, [...alike.slice(1 - MAX_CANDIDATES), digest]);
  }
}

function jobOf(
  { files }: ModelDraft<FileSource>,
  ranges: readonly WeightRange[],
  candidates: readonly Candidate[] = [],
): IngestJob {
  const parts = ranges.map((at): IngestPart => {
    const { name: path, identity } = (files[at.file] as (typeof files)[number]).source;
    return { path, identity, offset: at.offset, length: at.length, ...encodingOf(at) };
  });
  return { parts, bundle: false, candidates };
}

/** Groups ranges into steps of about `stepBytes`. */
function stepsOf(ranges: readonly WeightRange[], stepBytes: number): WeightRange[][] {
  const all: WeightRange[][] = [];
  let size = stepBytes;
  for (const range of ranges) {
    if (size >= stepBytes) {
      all.push([]);
      size = 0;
    }
    all.at(-1)?.push(range);
    size += range.length;
  }
  return all;
}
