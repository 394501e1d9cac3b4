import type { ByteEncoding } from "../io/byte-encoding.ts";
import type { Digest } from "../tensor/digest.ts";
import type { FileIdentity } from "../node/file-source.ts";

/** A range of a file that becomes a part of a blob. */
export interface IngestPart extends ByteEncoding {
  readonly path: string;
  /** Identity of the file when its header was read; a changed file is refused. */
  readonly identity: FileIdentity;
  readonly offset: number;
  readonly length: number;
  /** Expected digest of the bytes, if they move within the store. */
  readonly digest?: Digest;
  /** Number of zero bytes before the part; not used in bundles. */
  readonly padding?: number;
}

/** A range of a blob of the store, whose bytes may be equal to a part. */
export interface Candidate {
  /** Path of the blob. */
  readonly path: string;
  readonly offset: number;
}

/** Input of a job, which makes one blob of one or more ranges. */
export interface IngestJob {
  readonly parts: readonly IngestPart[];
  /**
   * Align each part, hash it alone, and store equal parts once; otherwise parts are concatenated with their padding.
   */
  readonly bundle: boolean;
  /** Ranges of the store that may have the same bytes, which are compared before a write. */
  readonly candidates: readonly Candidate[];
}

/** Digest and range of a weight in a bundle. */
export interface BundledPart {
  readonly digest: Digest;
  readonly offset: number;
  readonly length: number;
}

/** Result of a job: a blob. */
export interface IngestResult {
  readonly digest: Digest;
  readonly size: number;
  /** Weights of a bundle, one for each part of the job; empty for other blobs. */
  readonly bundled: readonly BundledPart[];
  /** Whether the blob is new to the store, or replaced a damaged one. */
  readonly fresh: boolean;
  /** Whether the weight stays inside a shard of the store, and has no blob of its own. */
  readonly inside: boolean;
}

/** Setup of a hashing thread. */
export interface IngestSetup {
  /** Folder of the blobs. */
  readonly blobs: string;
  /** Folder for unfinished files. */
  readonly temporary: string;
  /** Two 64-bit integers: bytes read so far by all threads; 1 to stop at the next chunk. */
  readonly progress: SharedArrayBuffer;
  /** Places of weights inside shards, by digest in hexadecimal: they are not stored again if their bytes are right. */
  readonly inside: ReadonlyMap<string, Candidate>;
}
