import { missingBlob } from "../store/read-blob.ts";
import type { BlobReader, BlobSource } from "../store/store.ts";
import { isAbsent, openFileSource } from "../node/file-source.ts";
import { createSha256 } from "../node/sha256.ts";
import type { Digest } from "../tensor/digest.ts";
import type { StorePaths } from "./store-paths.ts";

/**
 * Opens a blob of a store's folder.
 * @throws StoreError `missing-blob`; SourceError `io`
 */
export async function openBlob(paths: StorePaths, digest: Digest): Promise<BlobSource> {
  const path = paths.blob(digest);
  return openFileSource(path).catch((error: unknown) => {
    if (!(error instanceof Error) || !isAbsent(error.cause ?? error)) throw error;
    throw missingBlob(`blob ${digest}`, { path, digest });
  });
}

/** Makes a reader of a store's folder, for code that runs without a {@link LocalStore}. */
export function folderReader(paths: StorePaths): BlobReader {
  return { createDigest: createSha256, blobs: { open: (digest) => openBlob(paths, digest) } };
}
