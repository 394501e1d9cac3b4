import type { FileHandle } from "node:fs/promises";

/** A part of a file that is written: appended bytes, or others that replace some of those. */
export type FileChunk = Uint8Array | { readonly offset: number; readonly bytes: Uint8Array };

/** The disk is given what came since in such stretches, while more comes: nothing is left to wait for at the end. */
const FLUSH = 256 * 1024 * 1024;

/**
 * Writes a file as its parts come, and makes it durable: while one part is written the next is made. A part's memory is
 * free when the second one after it is asked for.
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
 * Writes all of the bytes, however many a system call takes.
 * @param at where in the file, in bytes; after what was written before, unless given
 */
export async function writeAll(file: FileHandle, bytes: Uint8Array, at?: number): Promise<void> {
  for (let written = 0; written < bytes.byteLength; ) {
    const place = at === undefined ? null : at + written;
    written += (await file.write(bytes, written, bytes.byteLength - written, place)).bytesWritten;
  }
}

/** A failure is seen where the promise is waited for, however late that is. */
function started(promise: Promise<void>): Promise<void> {
  promise.catch(() => undefined);
  return promise;
}
