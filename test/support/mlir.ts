import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import type { MlirPiece } from "../../src/formats/mlir/piece.ts";

/** A file of `fixtures/mlir`, which LLVM wrote but for the thin ones. */
export function mlirPath(name: string): string {
  return fileURLToPath(new URL(`../../fixtures/mlir/${name}`, import.meta.url));
}

export function mlirBytes(name: string): Uint8Array {
  return new Uint8Array(readFileSync(mlirPath(name)));
}

/** The file that pieces lay out, in memory. */
export function render(
  pieces: readonly MlirPiece[],
  source: Uint8Array,
  weights: ReadonlyMap<string, Uint8Array> = new Map(),
): Uint8Array {
  const parts = pieces.map((piece) => {
    if (piece.kind === "bytes") return piece.bytes;
    if (piece.kind === "padding") return new Uint8Array(piece.length).fill(0xcb);
    if (piece.kind === "range") return source.subarray(piece.offset, piece.offset + piece.length);
    const bytes = Buffer.from(weights.get(piece.key) as Uint8Array);
    return piece.hex ? Buffer.from(bytes.toString("hex").toUpperCase()) : bytes;
  });
  return new Uint8Array(Buffer.concat(parts));
}
