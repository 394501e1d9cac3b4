import type { FileHandle } from "node:fs/promises";

/**
 * Writes all of the bytes, however many a system call takes.
 * @param at where in the file, in bytes; behind what was written before unless given
 */
export async function writeAll(file: FileHandle, bytes: Uint8Array, at?: number): Promise<void> {
  for (let written = 0; written < bytes.byteLength; ) {
    const place = at === undefined ? null : at + written;
    written += (await file.write(bytes, written, bytes.byteLength - written, place)).bytesWritten;
  }
}
