import { zeros } from "../../io/align.ts";
import type { ByteSource, ReadOptions } from "../../io/byte-source.ts";
import { rangeOf } from "../../io/stream.ts";

/** A range of a file, and where it goes in a new one. */
export interface FilePiece {
  readonly offset: number;
  readonly from: { readonly offset: number; readonly length: number };
  readonly source: ByteSource;
}

/** A new file. */
export interface PiecedFile {
  /** What it starts with. */
  readonly header: Uint8Array;
  /** In their order; what lies between them, and after them, is zeros. */
  readonly pieces: readonly FilePiece[];
  /** In bytes. */
  readonly size: number;
}

/** The bytes of a new file, a part at a time. */
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
