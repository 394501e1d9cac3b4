import { zeros } from "../../bytes/align.ts";
import type { ByteSource, ReadOptions } from "../../bytes/byte-source.ts";

/** Copied at a time, in bytes. */
const CHUNK = 4 * 1024 * 1024;

/** A range of a file, and where it goes in a new one. */
export interface FilePiece {
  readonly offset: number;
  readonly from: { readonly offset: number; readonly length: number };
  readonly source: ByteSource;
}

/** A new file. */
export interface PiecedFile {
  /** What it starts with. */
  readonly head: Uint8Array;
  /** In their order; what lies between them, and after them, is zeros. */
  readonly pieces: readonly FilePiece[];
  /** In bytes. */
  readonly size: number;
}

/** The bytes of a new file, a part at a time. */
export async function* streamPieces(
  { head, pieces, size }: PiecedFile,
  { signal }: ReadOptions,
): AsyncGenerator<Uint8Array, void, undefined> {
  yield head;
  let at = head.byteLength;
  for (const { offset, from, source } of pieces) {
    yield* zeros(offset - at);
    for (let read = 0; read < from.length; read += CHUNK) {
      signal?.throwIfAborted();
      yield await source.read(from.offset + read, Math.min(CHUNK, from.length - read), { signal });
    }
    at = offset + from.length;
  }
  yield* zeros(size - at);
}
