import type { ByteSource, ReadOptions } from "../../io/byte-source.ts";
import { rangeOf } from "../../io/stream.ts";
import { encodeHex } from "../../io/hex.ts";
import type { MlirPiece } from "../../formats/mlir/piece.ts";
import { PADDING } from "../../formats/mlir/schema.ts";

/**
 * Streams the bytes of a layout. A chunk is valid until the consumer takes the second chunk after it.
 * @param weight streams the bytes of a weight; optional if the layout has no weights
 */
export async function* pieceChunks(
  pieces: readonly MlirPiece[],
  source: ByteSource,
  options: ReadOptions,
  weight: (key: string) => AsyncIterable<Uint8Array> = async function* () {},
): AsyncGenerator<Uint8Array> {
  for (const piece of pieces) {
    if (piece.kind === "bytes") yield piece.bytes;
    else if (piece.kind === "padding") yield new Uint8Array(piece.length).fill(PADDING);
    else if (piece.kind === "range") {
      yield* rangeOf(source, piece.offset, piece.length, { ...options, reuse: true });
    } else {
      for await (const chunk of weight(piece.key)) yield piece.hex ? encodeHex(chunk) : chunk;
    }
  }
}
