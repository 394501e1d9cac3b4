import { zeros } from "../../io/align.ts";
import type { ByteSource, ReadOptions } from "../../io/byte-source.ts";
import { rangeOf } from "../../io/stream.ts";

/** A range of a source file, and its offset in the new file. */
export interface FilePiece {
  readonly offset: number;
  readonly from: { readonly offset: number; readonly length: number };
  readonly source: ByteSource;
}

/** The layout of a new file. */
export interface PiecedFile {
  /** The first bytes of the file. */
  readonly header: Uint8Array;
  /** Sorted by offset. Gaps between pieces, and the end of the file, are zeros. */
  readonly pieces: readonly FilePiece[];
  /** Size in bytes. */
  readonly size: number;
}

/** Streams the bytes of a new file. */
export async function* streamPieces(
  { header, pieces, size }: PiecedFile,
  { signal }: ReadOptions,
): AsyncGenerator<Uint8Array, void, undefined> {
  yield header;
  let at = header.byteLength;
  for (const { offset, from, source } of pieces) {
    yield* zeros(offset - at);
    yield* rangeOf(source, from.offset, from.length, { signal, reuse: true });
    at = offset + from.length;
  }
  yield* zeros(size - at);
}
