import type { Digest } from "../tensor/digest.ts";
import type { BlobSource } from "./blob-store.ts";

/** The seam to wherever new blobs are kept: memory, a folder, a browser's storage. */
export interface BlobSink {
  /**
   * Takes all bytes as they come. Nothing of them is seen before {@link StagedBlob.commit}, and nothing is kept if the
   * bytes break off with an error, which is thrown on. A piece is done with when the next is asked for.
   */
  stage(chunks: AsyncIterable<Uint8Array>): Promise<StagedBlob>;
  /**
   * Opens a blob that was committed; its bytes are not checked.
   * @throws StoreError `missing-blob`
   */
  openBlob(digest: Digest): Promise<BlobSource>;
}

/** Bytes that a sink has taken but does not show yet. Dispose it to drop them; after a commit that does nothing. */
export interface StagedBlob extends AsyncDisposable {
  /**
   * Makes them a blob, whole or not at all; one that is there already stays.
   * @param digest of the bytes, which whoever staged them has hashed
   */
  commit(digest: Digest): Promise<void>;
}
