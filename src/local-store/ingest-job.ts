import type { ByteEncoding } from "../io/byte-encoding.ts";
import type { Digest } from "../tensor/digest.ts";
import type { FileIdentity } from "../node/file-source.ts";

/** A range of a file that becomes part of a blob. */
export interface IngestPart extends ByteEncoding {
  readonly path: string;
  /** The file as it was when it was read first: another one since is refused. */
  readonly identity: FileIdentity;
  readonly offset: number;
  readonly length: number;
  /** What its bytes must hash to: where they move within the store. */
  readonly digest?: Digest;
  /** Zeros before it, where parts are end to end. */
  readonly padding?: number;
}

/** A place in the store whose bytes may be the same. */
export interface Candidate {
  /** A blob's path. */
  readonly path: string;
  readonly offset: number;
}

/** Makes one blob of one or several ranges. */
export interface IngestJob {
  readonly parts: readonly IngestPart[];
  /** Align each part, hash it by itself, and store equal ones once; otherwise parts lie end to end. */
  readonly bundle: boolean;
  /** Blobs of the store that may hold the same bytes: worth a look before anything is written. */
  readonly candidates: readonly Candidate[];
}

/** A part of a bundle: its own digest, and where it is. */
export interface BundledPart {
  readonly digest: Digest;
  readonly offset: number;
  readonly length: number;
}

/** What became of a job. */
export interface IngestResult {
  readonly digest: Digest;
  readonly size: number;
  /** For a bundle, one for each part of the job. */
  readonly bundled: readonly BundledPart[];
  /** Whether the store did not have it. */
  readonly fresh: boolean;
}

/** What a hashing thread is started with. */
export interface IngestSetup {
  /** Folder of the blobs. */
  readonly blobs: string;
  /** Folder for unfinished files. */
  readonly temporary: string;
  /** Two 64-bit numbers: bytes read so far by all threads; whether to stop (1) at the next piece. */
  readonly progress: SharedArrayBuffer;
  /** Weights that lie inside other blobs, in hexadecimal: not to be stored again. */
  readonly inside: ReadonlySet<string>;
}
