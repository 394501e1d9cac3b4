/** A part of a file that is to be written, in order: written as it comes, so no file is ever in memory. */
export type MlirPiece =
  | { readonly kind: "bytes"; readonly bytes: Uint8Array }
  /** A range of the file that is being rewritten. */
  | { readonly kind: "range"; readonly offset: number; readonly length: number }
  /** Bytes 0xCB. */
  | { readonly kind: "padding"; readonly length: number }
  /** A weight's bytes, from wherever they are; in text spelled as two hexadecimal digits each. */
  | { readonly kind: "weight"; readonly key: string; readonly length: number; readonly hex: boolean };

/** What a weight needs to be put into a file. */
export interface BlobLayout {
  readonly alignment: number;
  /** In bytes. */
  readonly length: number;
}

/** Bytes that a piece takes in the file. */
export function pieceLength(piece: MlirPiece): number {
  if (piece.kind === "bytes") return piece.bytes.byteLength;
  return piece.kind === "weight" && piece.hex ? piece.length * 2 : piece.length;
}

/** Bytes that pieces take together. */
export function piecesLength(pieces: readonly MlirPiece[]): number {
  return pieces.reduce((sum, piece) => sum + pieceLength(piece), 0);
}
