import { createHash } from "node:crypto";
import { createReadStream, type Stats } from "node:fs";
import { chmod, stat, utimes } from "node:fs/promises";
import { fileError, isAbsent } from "../node/file-source.ts";
import type { Digest } from "../tensor/digest.ts";
import { isWholeSync, SEAL } from "./commit-blob.ts";
import type { StorePaths } from "./store-paths.ts";
import type { BlobRef, HasOptions } from "../store/store.ts";

/**
 * Whether a blob is whole. A blob is *sealed* when its bytes were checked against its digest and not written since: its
 * modification time is then {@link SEAL}, which any later write moves. So one `stat` before each use takes the place of
 * hashing. An unsealed blob (a store that another tool copied) is hashed now, and sealed if the store is writable.
 * @param options `full`: hash it even if it is sealed
 */
export async function isWhole(
  paths: StorePaths,
  { digest, size }: BlobRef,
  { full = false, signal }: HasOptions = {},
): Promise<boolean> {
  signal?.throwIfAborted();
  const path = paths.blob(digest);
  // The common case, without a trip through the thread pool: a thousand blobs are looked at in milliseconds.
  if (!full && isWholeSync(path, size)) return true;
  const stats = await statBlob(paths, digest);
  if (stats?.size !== size || (await hashFile(path, signal)) !== digest) return false;
  await seal(path).catch(() => undefined);
  return true;
}

/** Whether a blob is there with its size: what this process or a thread of it committed needs no other look. */
export async function isPresent(paths: StorePaths, { digest, size }: BlobRef): Promise<boolean> {
  return isWholeSync(paths.blob(digest), size) || (await statBlob(paths, digest))?.size === size;
}

/** Marks a file as hashed and not written since. */
export async function seal(path: string): Promise<void> {
  await chmod(path, 0o444);
  await utimes(path, SEAL, SEAL);
}

async function statBlob(paths: StorePaths, digest: Digest): Promise<Stats | undefined> {
  try {
    return await stat(paths.blob(digest));
  } catch (cause) {
    if (isAbsent(cause)) return undefined;
    throw fileError(paths.blob(digest), "look at", cause);
  }
}

/** sha256 of a file as it is now, streamed. */
async function hashFile(path: string, signal: AbortSignal | undefined): Promise<Digest> {
  const hash = createHash("sha256");
  const stream = createReadStream(path, { highWaterMark: 1024 * 1024, ...(signal && { signal }) });
  for await (const chunk of stream) hash.update(chunk as Buffer);
  return `sha256:${hash.digest("hex")}`;
}
