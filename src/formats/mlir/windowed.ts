import type { ByteSource, ReadOptions } from "../../io/byte-source.ts";

/** Reads up to so many bytes at an offset: fewer only at the end of the file. */
export type Peek = (offset: number, length: number) => Promise<Uint8Array>;

/** Length of a window, in bytes: it covers headers of neighbouring small blobs and sections. */
const WINDOW = 512;

/** Reads small pieces of a source through a window, which may cover the next piece too. */
export function windowed(source: ByteSource, options: ReadOptions): Peek {
  let start = 0;
  let bytes: Uint8Array = new Uint8Array();
  return async (offset, length) => {
    const wanted = Math.min(length, source.size - offset);
    if (offset < start || offset + wanted > start + bytes.byteLength) {
      bytes = await source.read(offset, Math.min(Math.max(wanted, WINDOW), source.size - offset), options);
      start = offset;
    }
    return bytes.subarray(offset - start, offset - start + wanted);
  };
}
