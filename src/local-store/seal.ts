import { createHash } from "node:crypto";
import { createReadStream, type Stats } from "node:fs";
import { chmod, stat, utimes } from "node:fs/promises";
import { fileError, isAbsent } from "../node/file-source.ts";
import type { Digest } from "../tensor/digest.ts";
import { isWholeSync, SEAL, unsealSync } from "./commit-blob.ts";
import type { StorePaths } from "./store-paths.ts";
import type { BlobRef, HasOptions } from "../store/store.ts";

/**
 * Whether a blob exists and is undamaged. A blob is *sealed* after its bytes were checked against its digest: its modification
 * time is then {@link SEAL}, which any later write changes. So a `stat` before each use replaces hashing. An unsealed blob (of a
 * store that another tool copied) is hashed, and sealed if the store is writable. A sealed blob with other bytes loses its seal.
 * @param options `full`: hash it even if it is sealed
 */
export async function isWhole(
  paths: StorePaths,
  { digest, size }: BlobRef,
  { full = false, signal }: HasOptions = {},
): Promise<boolean> {
  signal?.throwIfAborted();
  const path = paths.blob(digest);
  // Check synchronously first: without the thread pool, a thousand blobs take milliseconds.
  if (!full && isWholeSync(path, size)) return true;
  const stats = await statBlob(paths, digest);
  if (stats?.size !== size) return false;
  if ((await hashFile(path, signal)) !== digest) {
    unsealSync(path);
    return false;
  }
  await seal(path).catch(() => undefined);
  return true;
}

/** Whether a blob exists with this size. Sufficient for a blob that this process committed. */
export async function isPresent(paths: StorePaths, { digest, size }: BlobRef): Promise<boolean> {
  return isWholeSync(paths.blob(digest), size) || (await statBlob(paths, digest))?.size === size;
}

/** Size of a blob in bytes; `undefined` if it does not exist. */
export async function blobSize(paths: StorePaths, digest: Digest): Promise<number | undefined> {
  return (await statBlob(paths, digest))?.size;
}

/** Seals a file: marks it as hashed. */
export async function seal(path: string): Promise<void> {
  await chmod(path, 0o444);
  await utimes(path, SEAL, SEAL);
}

async function statBlob(paths: StorePaths, digest: Digest): Promise<Stats | undefined> {
  try {
    return await stat(paths.blob(digest));
  } catch (cause) {
    if (isAbsent(cause)) return undefined;
    throw fileError(paths.blob(digest), "check", cause);
  }
}

/** Hashes a file, which it streams. */
export async function hashFile(path: string, signal?: AbortSignal): Promise<Digest> {
  const hash = createHash("sha256");
  const stream = createReadStream(path, { highWaterMark: 1024 * 1024, ...(signal && { signal }) });
  for await (const chunk of stream) hash.update(chunk as Buffer);
  return `sha256:${hash.digest("hex")}`;
}
