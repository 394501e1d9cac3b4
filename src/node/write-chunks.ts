import type { FileHandle } from "node:fs/promises";

/** A write to a file: bytes to append, or bytes that replace written ones. */
export type FileChunk = Uint8Array | { readonly offset: number; readonly bytes: Uint8Array };

/** Bytes between flushes to disk. Flushing while chunks arrive leaves little for the fsync at the end. */
const FLUSH = 256 * 1024 * 1024;

/**
 * Writes chunks to a file and makes it durable. It requests the next chunk while it writes one: the memory of a chunk
 * may be reused when the second chunk after it is requested.
 * @param onBytes called with the bytes that each chunk appended
 * @returns the file's size
 */
export async function writeChunks(
  file: FileHandle,
  chunks: AsyncIterable<FileChunk>,
  onBytes?: (bytes: number) => void,
): Promise<number> {
  let size = 0;
  let flushed = 0;
  let writing = Promise.resolve();
  let flushing = Promise.resolve();
  try {
    for await (const chunk of chunks) {
      const behind = chunk instanceof Uint8Array;
      const { offset, bytes } = behind ? { offset: size, bytes: chunk } : chunk;
      await writing;
      writing = started(writeAll(file, bytes, offset));
      if (behind) {
        size += bytes.byteLength;
        onBytes?.(bytes.byteLength);
      }
      if (size - flushed < FLUSH) continue;
      flushed = size;
      await flushing;
      flushing = started(file.datasync());
    }
    await writing;
    await flushing;
    await file.sync();
    return size;
  } finally {
    await Promise.allSettled([writing, flushing]);
  }
}

/**
 * Writes all bytes, in several system calls if necessary.
 * @param at offset in the file, in bytes; the current position unless given
 */
export async function writeAll(file: FileHandle, bytes: Uint8Array, at?: number): Promise<void> {
  for (let written = 0; written < bytes.byteLength; ) {
    const place = at === undefined ? null : at + written;
    written += (await file.write(bytes, written, bytes.byteLength - written, place)).bytesWritten;
  }
}

/** Marks a promise as handled: its failure is reported by a later `await`. */
function started(promise: Promise<void>): Promise<void> {
  promise.catch(() => undefined);
  return promise;
}
