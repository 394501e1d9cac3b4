import { TareError } from "../errors.ts";
import type { Digest } from "../tensor/digest.ts";
import { withLock } from "./lock.ts";
import { markBlobs } from "./mark-blobs.ts";
import type { StorePaths } from "./store-paths.ts";

/** Removes blobs of a writer, except those in use. Removes none if the manifest of a model cannot be read. */
export async function discard(paths: StorePaths, digests: Iterable<Digest>): Promise<void> {
  await withLock(paths, async (lock) => {
    const marked = await markBlobs(paths).catch((error: unknown) => {
      if (!(error instanceof TareError)) throw error;
    });
    if (!marked) return;
    for (const digest of digests) {
      if (!marked.has(digest)) await lock.remove(paths.blob(digest));
    }
  });
}
