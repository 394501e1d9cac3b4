import type { ByteSource, ReadOptions } from "../../io/byte-source.ts";
import { rangeOf } from "../../io/stream.ts";
import { FormatError } from "../../errors.ts";
import { decodeHex, encodeHex } from "../../io/hex.ts";
import type { MlirPiece } from "../../formats/mlir/piece.ts";
import { PADDING } from "../../formats/mlir/schema.ts";

/** Where bytes lie in a source; spelled as two digits each where they are `hex`. */
export interface ByteRange {
  readonly offset: number;
  /** In bytes of what they are, not of digits. */
  readonly length: number;
  readonly hex: boolean;
}

/** Reads a range piece by piece, into memory that is used again: a piece is valid until the second one after it. */
export async function* rangeChunks(
  source: ByteSource,
  { offset, length, hex }: ByteRange,
  key: string,
  options: ReadOptions,
): AsyncGenerator<Uint8Array> {
  if (!hex) yield* rangeOf(source, offset, length, { ...options, reuse: true });
  else {
    let at = offset;
    for await (const digits of rangeOf(source, offset, 2 * length, { ...options, reuse: true })) {
      const decoded = decodeHex(digits);
      if (typeof decoded === "number") throw noDigit(source.name, key, at + decoded);
      yield decoded;
      at += digits.byteLength;
    }
  }
}

/**
 * The bytes of a file that is laid out, as they come.
 * @param weight gives a weight's bytes
 */
export async function* pieceChunks(
  pieces: readonly MlirPiece[],
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
