import type { ByteSource, ReadOptions } from "../../bytes/byte-source.ts";
import { FormatError } from "../../errors.ts";
import { decodeHex, encodeHex } from "../../bytes/hex.ts";
import type { Piece } from "../../formats/mlir/piece.ts";
import { PADDING } from "../../formats/mlir/schema.ts";

/** Read at a time. */
const CHUNK = 4 * 1024 * 1024;

/** Where bytes lie in a source; spelled as two digits each where they are `hex`. */
export interface ByteRange {
  readonly offset: number;
  /** In bytes of what they are, not of digits. */
  readonly length: number;
  readonly hex: boolean;
}

/** Reads a range piece by piece. */
export async function* rangeChunks(
  source: ByteSource,
  { offset, length, hex }: ByteRange,
  key: string,
  options: ReadOptions,
): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < length; at += CHUNK) {
    const count = Math.min(CHUNK, length - at);
    if (!hex) yield await source.read(offset + at, count, options);
    else {
      const decoded = decodeHex(await source.read(offset + 2 * at, 2 * count, options));
      if (typeof decoded === "number") throw noDigit(source.name, key, offset + 2 * at + decoded);
      yield decoded;
    }
  }
}

/**
 * The bytes of a file that is laid out, as they come.
 * @param weight gives a weight's bytes
 */
export async function* pieceChunks(
  pieces: readonly Piece[],
  source: ByteSource,
  weight: (key: string) => AsyncIterable<Uint8Array>,
  options: ReadOptions,
): AsyncGenerator<Uint8Array> {
  for (const piece of pieces) {
    if (piece.kind === "bytes") yield piece.bytes;
    else if (piece.kind === "padding") yield new Uint8Array(piece.length).fill(PADDING);
    else if (piece.kind === "range") {
      const { offset, length } = piece;
      yield* rangeChunks(source, { offset, length, hex: false }, "", options);
    } else {
      for await (const chunk of weight(piece.key)) yield piece.hex ? encodeHex(chunk) : chunk;
    }
  }
}

function noDigit(path: string, tensor: string, offset: number): FormatError {
  return new FormatError(
    "malformed",
    `Cannot read resource "${tensor}" of "${path}": byte ${offset} is no hexadecimal digit`,
    { path, tensor, offset },
  );
}
