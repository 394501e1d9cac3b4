import type { ReadOptions } from "../../io/byte-source.ts";
import { StoreError } from "../../errors.ts";
import type { CreateDigest, Digest } from "../../tensor/digest.ts";
import { bothAlignments } from "../../io/align.ts";
import { checkAlignment } from "./alignment.ts";
import { alignmentConflict, BlobConflictError, conflictsOf, type KeyClaim } from "./blob-conflict.ts";
import { checkedBlob, countedChunks } from "./checked-chunks.ts";
import type { StreamOptions } from "../../io/stream.ts";
import { type BlobData, checkChunk, chunksOf, knownSize } from "../../io/chunks.ts";
import { checkKey, checkLayout, checkSize, checkTag } from "./put-checks.ts";
import {
  type BlobEntry,
  planShardFiles,
  type ShardFile,
  type ShardOptions,
  type ShardPlan,
} from "./shard-plan.ts";
import type { TensorLayout } from "../../tensor/tensor-layout.ts";
import { writeShardFile } from "./write-shard.ts";
import type { BlobSink, StagedBlob } from "../../store/store.ts";

/** The parts of a {@link BlobService}. */
export interface BlobServiceOptions {
  /** Stores the bytes. */
  readonly sink: BlobSink;
  readonly createDigest: CreateDigest;
}

/** Options of {@link BlobService.put}. */
export interface PutOptions extends ReadOptions {
  /** Alignment of the blob in bytes, from 1 to 64 MiB; 1 unless given. */
  readonly alignment?: number | undefined;
  /** Tag of the data files that it belongs to. A blob without a tag is embedded in the program. */
  readonly tag?: string | undefined;
  /** Dtype and shape, if the bytes are a tensor. */
  readonly layout?: TensorLayout | undefined;
}

/** Result of a put. */
export interface PutResult {
  readonly digest: Digest;
  /** Whether the bytes are new to the service. */
  readonly fresh: boolean;
}

interface Key {
  readonly digest: Digest;
  readonly tag: string | undefined;
  readonly layout: TensorLayout | undefined;
}

interface Blob {
  readonly length: number;
  readonly alignment: number;
}

/**
 * Collects data of a compiler's backends: bytes under keys. Stores equal bytes once, and lays all bytes out into data
 * files at the end. Methods and partitions may put data concurrently; the result does not depend on the order.
 */
export class BlobService {
  readonly #sink: BlobSink;
  readonly #createDigest: CreateDigest;
  readonly #keys = new Map<string, Key>();
  readonly #blobs = new Map<Digest, Blob>();
  #last: Promise<unknown> = Promise.resolve();

  constructor({ sink, createDigest }: BlobServiceOptions) {
    this.#sink = sink;
    this.#createDigest = createDigest;
  }

  /**
   * Stores bytes under a key, and hashes them. Equal bytes under another key share the blob, whose alignment then satisfies
   * both. A layout may be added to a key without one. A failed or aborted put keeps nothing. The caller must not write to
   * the bytes until the put ends.
   * @throws BlobConflictError `duplicate` for other bytes, `mismatch` for another tag or layout, `too-large` for
   * alignments of one blob without a common multiple of up to 64 MiB; StoreError `size-mismatch`, `bad-name`;
   * RangeError; errors of the source and of the sink
   */
  async put(key: string, data: BlobData, options: PutOptions = {}): Promise<PutResult> {
    const { alignment = 1, tag, layout, signal } = options;
    checkKey(key);
    checkAlignment(alignment);
    if (tag !== undefined) checkTag(key, tag);
    const length = layout && checkLayout(key, layout);
    const size = knownSize(data);
    if (layout && size !== undefined) checkSize(key, layout, length, size);
    // Copy the shape, which the caller may change later.
    const kept = layout && { dtype: layout.dtype, shape: [...layout.shape] };
    const asked = { digest: undefined, length, alignment, tag, layout: kept };
    this.#refuse("put", [[key, asked]]);

    const chunks = countedChunks(chunksOf(data, signal), (passed, atEnd) => {
      if (layout && (atEnd || passed > (length ?? 0))) checkSize(key, layout, length, passed, atEnd);
    });
    await using staged = await this.#sink.stage(chunks);
    const { digest, size: bytes } = staged;
    return await this.#inTurn(async () => {
      signal?.throwIfAborted();
      const entry: BlobEntry = { ...asked, digest, length: bytes };
      this.#refuse("put", [[key, entry]]);
      const fresh = !this.#blobs.has(digest);
      if (fresh) await staged.commit(digest);
      this.#record(key, entry);
      return { digest, fresh };
    });
  }

  /** Returns the entry of a key. */
  get(key: string): BlobEntry | undefined {
    const known = this.#keys.get(key);
    return known && { ...known, ...(this.#blobs.get(known.digest) as Blob) };
  }

  /** Returns all keys, sorted. */
  keys(): string[] {
    return [...this.#keys.keys()].sort();
  }

  /**
   * Streams the bytes of a key, and checks their digest at the end.
   * @throws StoreError `not-found`, `corrupted`
   */
  stream(key: string, options: StreamOptions = {}): AsyncIterable<Uint8Array> {
    checkChunk(options);
    const entry = this.get(key);
    if (!entry)
      throw new StoreError("not-found", `Cannot read "${key}": there is no such key`, { tensor: key });
    return checkedBlob(this.#sink, entry, this.#createDigest(), options);
  }

  /**
   * Adds all entries of another service; adds none if there is a conflict.
   * @throws BlobConflictError with every conflict; StoreError `corrupted`; errors of the sinks
   */
  async merge(other: BlobService, { signal }: ReadOptions = {}): Promise<void> {
    if (other === this) return;
    const entries = [...other.#entries()];
    this.#refuse("merge", entries);
    const staged = new Map<Digest, StagedBlob>();
    try {
      for (const [, entry] of entries) {
        if (other.#sink === this.#sink || this.#blobs.has(entry.digest) || staged.has(entry.digest)) continue;
        const chunks = checkedBlob(other.#sink, entry, this.#createDigest(), { signal });
        staged.set(entry.digest, await this.#sink.stage(chunks));
      }
      await this.#inTurn(async () => {
        signal?.throwIfAborted();
        this.#refuse("merge", entries);
        for (const [digest, blob] of staged) if (!this.#blobs.has(digest)) await blob.commit(digest);
        for (const [key, entry] of entries) this.#record(key, entry);
      });
    } finally {
      for (const blob of staged.values()) await blob[Symbol.asyncDispose]();
    }
  }

  /**
   * Lays out all blobs into the data files of each tag, and into the program. The plan does not depend on the order of
   * puts, and does not contain later puts.
   */
  shards(options: ShardOptions = {}): ShardPlan {
    return planShardFiles(this.#entries(), options);
  }

  /**
   * Streams the bytes of a file of {@link shards}, with zeros between its blobs. Checks each blob against its digest. Reads
   * only as fast as the consumer.
   * @throws StoreError `missing-blob`, `corrupted`
   */
  writeShard(
    file: Pick<ShardFile, "blobs" | "size">,
    options: StreamOptions = {},
  ): AsyncIterable<Uint8Array> {
    checkChunk(options);
    return writeShardFile(this.#sink, file, this.#createDigest, options);
  }

  #entries(): Map<string, BlobEntry> {
    return new Map(this.keys().map((key) => [key, this.get(key) as BlobEntry]));
  }

  #refuse(verb: string, entries: readonly (readonly [string, KeyClaim])[]): void {
    const conflicts = entries.flatMap(([key, asked]) => {
      const known = this.get(key);
      const blob = asked.digest && this.#blobs.get(asked.digest);
      return [
        ...(known ? conflictsOf(key, known, asked) : []),
        ...(blob ? alignmentConflict(key, blob.alignment, asked.alignment) : []),
      ];
    });
    const [first, ...others] = conflicts;
    if (first) throw new BlobConflictError(verb, [first, ...others]);
  }

  #record(key: string, { digest, length, alignment, tag, layout }: BlobEntry): void {
    const known = this.#keys.get(key);
    this.#keys.set(key, { digest, tag, layout: known?.layout ?? layout });
    const blob = this.#blobs.get(digest);
    this.#blobs.set(digest, { length, alignment: bothAlignments(blob?.alignment ?? 1, alignment) });
  }

  /** Runs the decisions on entries one after the other, while bytes are stored concurrently. */
  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#last.then(work);
    this.#last = result.catch(() => undefined);
    return result;
  }
}
