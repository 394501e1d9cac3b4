import type { ByteSource, ReadOptions } from "../io/byte-source.ts";
import type { Descriptor, Manifest } from "../model/manifest.ts";
import type { CreateDigest, Digest } from "../tensor/digest.ts";

/**
 * A store of models: blobs under their digests, and names for manifests. A folder and memory are stores.
 * Every implementation runs the compliance suite `test/support/store-compliance.ts`.
 */
export interface Store {
  /** Path of the folder or "memory", for errors. */
  readonly name: string;
  /** Starts a sha256 with the implementation of this environment. */
  readonly createDigest: CreateDigest;
  readonly blobs: Blobs;
  readonly names: Names;
}

/** The part of a store that reads a model of a known manifest: blobs, and a hash to check them. */
export interface BlobReader extends Pick<Store, "createDigest"> {
  readonly blobs: Pick<Blobs, "open">;
}

/** A blob by its digest and its size in bytes. */
export type BlobRef = Pick<Descriptor, "digest" | "size">;

/** A blob that is open for reading. Dispose it to close it. */
export interface BlobSource extends ByteSource, AsyncDisposable {}

/** Blobs by sha256. A blob is complete or absent, and never changes. */
export interface Blobs {
  /**
   * Whether the store has an undamaged blob: size and digest match. A blob that is known to be unchanged since it was
   * hashed is not hashed again.
   * @param options `full`: hash it in any case
   */
  has(blob: BlobRef, options?: HasOptions): Promise<boolean>;
  /**
   * Opens a blob for range reads. Does not check its bytes.
   * @throws StoreError `missing-blob`
   */
  open(digest: Digest): Promise<BlobSource>;
  /**
   * Stores and hashes a stream. The bytes are invisible until {@link StagedBlob.commit}, and discarded if the stream
   * fails. A chunk may be overwritten when the next one is requested.
   * @throws SourceError `disk-full`, `io`; the errors of `chunks`
   */
  stage(chunks: AsyncIterable<Uint8Array>, options?: ReadOptions): Promise<StagedBlob>;
  /** Opens a lease: until it is disposed, collections keep the blobs that are committed. */
  lease(): Promise<Lease>;
}

/** The part of a store that writes and opens blobs, for the backends of a compiler. */
export type BlobSink = Pick<Blobs, "open" | "stage">;

/** Options of {@link Blobs.has}. */
export interface HasOptions extends ReadOptions {
  readonly full?: boolean | undefined;
}

/** Bytes that are stored and hashed but not visible. Dispose it to remove them; no effect after a commit. */
export interface StagedBlob extends AsyncDisposable {
  readonly digest: Digest;
  /** Size in bytes. */
  readonly size: number;
  /**
   * Makes the bytes a blob, atomically. Keeps an undamaged blob of this digest, replaces a damaged one.
   * @param digest digest that the caller expects
   * @returns `true` if the blob is new
   * @throws StoreError `corrupted` if the bytes have another digest: the store does not change
   */
  commit(digest: Digest): Promise<boolean>;
}

/**
 * Protects the committed blobs of a writer from collection. Dispose it when the blobs have a name or are not needed.
 */
export interface Lease extends AsyncDisposable {
  /** Makes committed blobs durable: they survive a loss of power. */
  sync(): Promise<void>;
  /** Removes blobs that are not in use. */
  discard(digests: Iterable<Digest>): Promise<void>;
}

/** A name of a store, and the manifest that it refers to. */
export interface Tag {
  readonly name: string;
  readonly digest: Digest;
}

/** A manifest that is a blob of the store. */
export interface StoredManifest {
  readonly manifest: Manifest;
  readonly descriptor: Descriptor;
}

/** Options of {@link Names.tag}. */
export interface TagOptions extends ReadOptions {
  /** Take the name from another model. */
  readonly replace?: boolean | undefined;
}

/** Names of models. Changes are atomic, and concurrent changes do not overwrite each other. */
export interface Names {
  /** Lists all names of models, sorted. */
  list(): Promise<Tag[]>;
  /** Finds the manifest that a name refers to; `undefined` if no model has the name. */
  resolve(name: string): Promise<Digest | undefined>;
  /**
   * Gives a model a name, if the store has every blob of the model. A name that refers to the same model (the same
   * config) keeps its manifest if the blobs of that manifest are undamaged.
   * @returns digest of the manifest that the name refers to now
   * @throws StoreError `bad-name`, `name-taken`, `missing-blob`
   */
  tag(name: string, model: StoredManifest, options?: TagOptions): Promise<Digest>;
  /**
   * Removes names, all or none. Blobs stay until a collection.
   * @throws StoreError `not-found`
   */
  untag(names: readonly string[]): Promise<void>;
}
