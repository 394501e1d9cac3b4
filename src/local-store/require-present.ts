import { missingBlob } from "../store/read-blob.ts";
import type { MovedWeight } from "./move-journal.ts";
import { blobSize } from "./seal.ts";
import type { StorePaths } from "./store-paths.ts";

/**
 * Checks that the blob of a weight exists with its size.
 * @throws StoreError `missing-blob`; SourceError `io`
 */
export async function requirePresent(
  paths: StorePaths,
  { digest, size, blob, offset = 0 }: MovedWeight,
): Promise<void> {
  const found = await blobSize(paths, blob);
  const present = found !== undefined && (blob === digest ? found === size : found >= offset + size);
  if (!present) throw missingBlob(`blob ${blob}`, { path: paths.blob(blob), digest: blob });
}
