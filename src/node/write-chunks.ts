import type { FileHandle } from "node:fs/promises";
import { writeAll } from "./write-all.ts";

/** A part of a file that is written: bytes behind those before them, or others in the place of some that are there. */
export type FileChunk = Uint8Array | { readonly offset: number; readonly bytes: Uint8Array };

/**
 * Writes a file as its parts come.
 * @param onBytes told how many came behind those before them
 * @returns the file's size
 */
export async function writeChunks(
  file: FileHandle,
  chunks: AsyncIterable<FileChunk>,
  onBytes?: (bytes: number) => void,
): Promise<number> {
  let size = 0;
  for await (const chunk of chunks) {
    if (!(chunk instanceof Uint8Array)) {
      await writeAll(file, chunk.bytes, chunk.offset);
      continue;
    }
    await writeAll(file, chunk);
    size += chunk.byteLength;
    onBytes?.(chunk.byteLength);
  }
  return size;
}
