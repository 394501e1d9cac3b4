import { type FileHandle, open, rm, writeFile } from "node:fs/promises";
import type { ReadOptions } from "../io/byte-source.ts";
import { createSha256 } from "../node/sha256.ts";
import { stagedMismatch } from "../store/staged-mismatch.ts";
import type { StagedBlob } from "../store/store.ts";
import type { Digest, DigestStream } from "../tensor/digest.ts";
import { commitBlobSync, isWholeSync } from "./commit-blob.ts";
import { hashFile } from "./seal.ts";
import { withSystemErrors } from "./system-errors.ts";

/**
 * Streams bytes into a temporary file, hashes them and makes them durable.
 * @param temporary path that does not exist
 * @param blobPath returns the path of a blob, in the same file system
 * @throws SourceError `disk-full`, `io`; the errors of `chunks`
 */
export async function stageFile(
  temporary: string,
  blobPath: (digest: Digest) => string,
  chunks: AsyncIterable<Uint8Array>,
  { signal }: ReadOptions = {},
): Promise<StagedBlob> {
  const hash = createSha256();
  const drop = (): Promise<void> => rm(temporary, { force: true });
  let size: number;
  try {
    size = await withSystemErrors(temporary, () => writeHashed(temporary, hashed(chunks, hash, signal)));
  } catch (error) {
    await drop();
    throw error;
  }
  const digest = hash.digest();
  return {
    digest,
    size,
    async commit(expected) {
      if (expected !== digest) throw stagedMismatch(temporary, expected, digest);
      return withSystemErrors(temporary, async () => {
        const blob = blobPath(digest);
        const damaged = isWholeSync(blob, size) && (await hashFile(blob, signal)) !== digest;
        const file = await open(temporary, "r+");
        try {
          return commitBlobSync(file.fd, temporary, blob, damaged);
        } finally {
          await file.close();
        }
      });
    },
    [Symbol.asyncDispose]: drop,
  };
}

async function writeHashed(path: string, chunks: AsyncIterable<Uint8Array>): Promise<number> {
  let file: FileHandle | undefined;
  try {
    file = await open(path, "wx", 0o600);
    await writeFile(file, chunks);
    // Flush here, without blocking the thread, so that commitBlobSync is fast.
    await file.datasync();
    return (await file.stat()).size;
  } finally {
    await file?.close();
  }
}

async function* hashed(
  chunks: AsyncIterable<Uint8Array>,
  hash: DigestStream,
  signal: AbortSignal | undefined,
): AsyncGenerator<Uint8Array, void, undefined> {
  for await (const chunk of chunks) {
    signal?.throwIfAborted();
    hash.update(chunk);
    yield chunk;
  }
  signal?.throwIfAborted();
}
