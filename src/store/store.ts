import type { ByteSource, ReadOptions } from "../io/byte-source.ts";
import type { Descriptor, Manifest } from "../model/manifest.ts";
import type { CreateDigest, Digest } from "../tensor/digest.ts";

/**
 * A place that keeps models: blobs under their digests, and names for manifests. A folder and memory are stores.
 * Whatever implements it runs the compliance suite `test/support/store-compliance.ts`.
 */
export interface Store {
  /** How errors name it: its folder, "memory". */
  readonly name: string;
  /** Starts a sha256, as this environment has it. */
  readonly createDigest: CreateDigest;
  readonly blobs: Blobs;
  readonly names: Names;
}

/** What reads a model whose manifest is known: blobs, and a way to check them. */
export interface BlobReader extends Pick<Store, "createDigest"> {
  readonly blobs: Pick<Blobs, "open">;
}

/** A blob by its digest and its size in bytes. */
export type BlobRef = Pick<Descriptor, "digest" | "size">;

/** A blob opened for reading. Dispose it to close it. */
export interface BlobSource extends ByteSource, AsyncDisposable {}

/** Bytes under their sha256: each blob is there whole or not at all, and never changes. */
export interface Blobs {
  /**
   * Whether a blob is there, whole: of its size, and of its digest unless it is known to be unchanged since it was hashed.
   * @param options `full`: hash it in any case
   */
  has(blob: BlobRef, options?: HasOptions): Promise<boolean>;
  /**
   * Opens a blob of any size for range reads; its bytes are not checked.
   * @throws StoreError `missing-blob`
   */
  open(digest: Digest): Promise<BlobSource>;
  /**
   * Takes all bytes as they come, and hashes them. Nobody sees them before {@link StagedBlob.commit}, and nothing is kept
   * if the stream fails: its error is thrown on. A chunk may be overwritten when the next one is asked for.
   * @throws SourceError `disk-full`, `io`
   */
  stage(chunks: AsyncIterable<Uint8Array>, options?: ReadOptions): Promise<StagedBlob>;
  /** Begins to write blobs that no name needs yet: while the lease lives, no collection removes what was committed. */
  lease(): Promise<Lease>;
}

/** What takes new blobs, and gives them back: all that a compiler's backends need of a store. */
export type BlobSink = Pick<Blobs, "open" | "stage">;

/** Options of {@link Blobs.has}. */
export interface HasOptions extends ReadOptions {
  readonly full?: boolean | undefined;
}

/** Bytes that were taken and hashed but are not visible yet. Dispose it to drop them; after a commit that does nothing. */
export interface StagedBlob extends AsyncDisposable {
  readonly digest: Digest;
  /** In bytes. */
  readonly size: number;
  /**
   * Makes them a blob, whole or not at all. A whole blob of this digest stays as it is, a damaged one is replaced.
   * @param digest what the caller expects them to be
   * @returns whether the store did not have it
   * @throws StoreError `corrupted` if the bytes have another digest: then nothing changes
   */
  commit(digest: Digest): Promise<boolean>;
}

/** Keeps what a writer commits from collection. Dispose it when the blobs have a name, or are not needed. */
export interface Lease extends AsyncDisposable {
  /** Makes committed blobs durable: they survive a machine that loses power. */
  sync(): Promise<void>;
  /** Removes blobs, except those that something needs. */
  discard(digests: Iterable<Digest>): Promise<void>;
}

/** A name of a store, and the manifest that it stands for. */
export interface Tag {
  readonly name: string;
  readonly digest: Digest;
}

/** A manifest whose bytes are a blob of the store. */
export interface StoredManifest {
  readonly manifest: Manifest;
  readonly descriptor: Descriptor;
}

/** Options of {@link Names.tag}. */
export interface TagOptions extends ReadOptions {
  /** Take the name from another model. */
  readonly replace?: boolean | undefined;
}

/** Names of models. Each change is atomic, and none is lost where several writers change names at once. */
export interface Names {
  /** All names of models, sorted. */
  list(): Promise<Tag[]>;
  /** The manifest that a name stands for; `undefined` where no model has the name. */
  resolve(name: string): Promise<Digest | undefined>;
  /**
   * Gives a model a name, if every blob of the model is there. A name that stands for the same model (the same config)
   * keeps its manifest as long as the blobs of that are whole.
   * @returns the manifest that the name stands for now
   * @throws StoreError `bad-name`, `name-taken`, `missing-blob`
   */
  tag(name: string, model: StoredManifest, options?: TagOptions): Promise<Digest>;
  /**
   * Takes names away, all or none; blobs stay until they are collected.
   * @throws StoreError `not-found`
   */
  untag(names: readonly string[]): Promise<void>;
}
