/** A piece of a file to write. Pieces are streamed in order, so that no file is in memory as a whole. */
export type MlirPiece =
  | { readonly kind: "bytes"; readonly bytes: Uint8Array }
  /** A range of the original file. */
  | { readonly kind: "range"; readonly offset: number; readonly length: number }
  /** Bytes 0xCB. */
  | { readonly kind: "padding"; readonly length: number }
  /** A weight's bytes from any source; in text, two hexadecimal digits each. */
  | { readonly kind: "weight"; readonly key: string; readonly length: number; readonly hex: boolean };

/** The layout of a weight in a file. */
export interface BlobLayout {
  readonly alignment: number;
  /** In bytes. */
  readonly length: number;
}

/** Bytes of a piece in the file. */
export function pieceLength(piece: MlirPiece): number {
  if (piece.kind === "bytes") return piece.bytes.byteLength;
  return piece.kind === "weight" && piece.hex ? piece.length * 2 : piece.length;
}

/** Bytes of all pieces in the file. */
export function piecesLength(pieces: readonly MlirPiece[]): number {
  return pieces.reduce((sum, piece) => sum + pieceLength(piece), 0);
}
