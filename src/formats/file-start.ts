import { ZipSignature, ZIP_BYTES } from "../encodings/zip/schema.ts";

/** How many of a file's first bytes tell its format. */
export const FILE_START_BYTES = 1024;

/** The first {@link FILE_START_BYTES} of a file, or all bytes of a shorter one. Reads past their end give `undefined`. */
export class FileStart {
  readonly bytes: Uint8Array;
  /** Size of the whole file, in bytes. */
  readonly size: number;
  readonly #view: DataView;

  constructor(bytes: Uint8Array, size: number) {
    this.bytes = bytes;
    this.size = size;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  /** Whether the file starts with these bytes. */
  startsWith(magic: ArrayLike<number>): boolean {
    return Array.from(magic).every((byte, at) => this.bytes[at] === byte);
  }

  uint32(at: number): number | undefined {
    return at + 4 <= this.bytes.byteLength ? this.#view.getUint32(at, true) : undefined;
  }

  uint64(at: number): bigint | undefined {
    return at + 8 <= this.bytes.byteLength ? this.#view.getBigUint64(at, true) : undefined;
  }

  /** Bytes as characters of the same numbers. */
  text(start = 0, end: number = this.bytes.byteLength): string {
    return String.fromCharCode(...this.bytes.subarray(start, end));
  }

  /** The name of a zip archive's first file; empty for a file that is no archive. */
  firstZipName(): string {
    if (this.bytes.byteLength < ZIP_BYTES.local || this.uint32(0) !== ZipSignature.local) return "";
    return this.text(ZIP_BYTES.local, ZIP_BYTES.local + this.#view.getUint16(26, true));
  }
}
