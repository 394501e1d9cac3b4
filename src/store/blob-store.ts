import type { ByteSource } from "../io/byte-source.ts";
import type { Digest } from "../tensor/digest.ts";

/** A blob opened for reading. Dispose it to close it. */
export interface BlobSource extends ByteSource, AsyncDisposable {}

/** The seam to wherever blobs are: a folder, memory, a browser's storage. */
export interface BlobStore {
  /**
   * Reads a small blob whole and checks it against its digest.
   * @throws StoreError `missing-blob`, `corrupted`
   */
  readBlob(digest: Digest): Promise<Uint8Array>;
  /**
   * Opens a blob of any size for range reads; its bytes are not checked.
   * @throws StoreError `missing-blob`
   */
  openBlob(digest: Digest): Promise<BlobSource>;
}
