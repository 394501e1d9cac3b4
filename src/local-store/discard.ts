import type { Digest } from "../tensor/digest.ts";
import { withLock } from "./lock.ts";
import { markBlobs } from "./mark-blobs.ts";
import type { StorePaths } from "./store-paths.ts";

/** Removes blobs of a writer, except those in use. */
export async function discard(paths: StorePaths, digests: Iterable<Digest>): Promise<void> {
  await withLock(paths, async (lock) => {
    const marked = await markBlobs(paths);
    for (const digest of digests) {
      if (!marked.has(digest)) await lock.remove(paths.blob(digest));
    }
  });
}
