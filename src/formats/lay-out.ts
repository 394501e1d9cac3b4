import type { DType } from "../tensor/dtype.ts";

/** A weight to write. */
export interface WeightSpec {
  /** Name in the source of the weights. */
  readonly key: string;
  /** Name in the new file. */
  readonly name: string;
  readonly dtype: DType;
  readonly shape: readonly number[];
  /** In bytes. */
  readonly length: number;
}

/** A running checksum of some of a file's pieces. */
export interface Checksum<T> {
  update(bytes: Uint8Array): void;
  /** Of all bytes so far. */
  readonly value: T;
}

/** Starts checksums. The caller of a {@link LayOut} gives them: the fast ones differ from Node to browsers. */
export interface Checksums {
  /** CRC-32, 0 to 2^32 - 1. */
  crc32(): Checksum<number>;
  /** MD5, as 32 hexadecimal digits. */
  md5(): Checksum<string>;
}

/**
 * A piece of a file: bytes, a weight, or bytes that checksums make after all other pieces of the file were written.
 * A piece with a checksum is added to it. The bytes between pieces, and after the last, are zeros.
 */
export type LayoutPiece =
  | { readonly offset: number; readonly bytes: Uint8Array; readonly sum?: Checksum<unknown> }
  | { readonly offset: number; readonly weight: WeightSpec; readonly sum?: Checksum<unknown> }
  | { readonly offset: number; readonly length: number; readonly late: () => Uint8Array };

/** A file of weights: its pieces in order, and its size in bytes. It is written once, since its checksums run once. */
export interface FileLayout {
  readonly pieces: readonly LayoutPiece[];
  readonly size: number;
}

/** A new folder: its files in the order in which they are written, so that late bytes know the checksums before. */
export interface FolderLayout {
  readonly files: readonly { readonly name: string; readonly layout: FileLayout }[];
}

/**
 * Lays weights out as a file of a container, or as a folder of files. Reads and writes nothing.
 * @param path of the file, or of the file that lists the folder's others
 * @throws FormatError for a weight that the container cannot hold
 */
export type LayOut = (
  weights: readonly WeightSpec[],
  path: string,
  checksums: Checksums,
) => FileLayout | FolderLayout;
