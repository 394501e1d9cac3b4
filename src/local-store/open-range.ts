import { createHash } from "node:crypto";
import { closeSync, constants, openSync, readSync } from "node:fs";
import type { Candidate } from "./ingest-job.ts";

/** Bytes per read of the store's copy. */
const PIECE = 1024 * 1024;

/**
 * A range of the store that is compared with other bytes, in pieces of 1 MiB. Synchronous, for hashing threads. A range that
 * cannot be read is different.
 */
export class OpenRange {
  readonly #range: Candidate;
  readonly #fd: number | undefined;
  readonly #piece = new Uint8Array(PIECE);
  #equal: boolean;

  constructor(range: Candidate) {
    this.#range = range;
    this.#fd = openIfPossible(range.path);
    this.#equal = this.#fd !== undefined;
  }

  /** Whether all compared bytes were equal. */
  get equal(): boolean {
    return this.#equal;
  }

  /** Whether this is the range at a place. */
  isAt({ path, offset }: Candidate): boolean {
    return path === this.#range.path && offset === this.#range.offset;
  }

  /** Compares bytes with those at an offset of the range. */
  compare(bytes: Uint8Array, offset: number): void {
    for (let at = 0; this.#equal && at < bytes.byteLength; at += PIECE) {
      const expected = bytes.subarray(at, at + PIECE);
      const found = this.read(offset + at, expected.byteLength);
      this.#equal = found !== undefined && Buffer.compare(found, expected) === 0;
    }
  }

  /** Reads up to 1 MiB, valid until the next read; `undefined` if the range is shorter or cannot be read. */
  read(offset: number, length: number): Uint8Array | undefined {
    if (this.#fd === undefined) return undefined;
    for (let filled = 0; filled < length; ) {
      const at = this.#range.offset + offset + filled;
      const count = readIfPossible(this.#fd, this.#piece.subarray(filled, length), at);
      if (count === 0) return undefined;
      filled += count;
    }
    return this.#piece.subarray(0, length);
  }

  [Symbol.dispose](): void {
    if (this.#fd !== undefined) closeSync(this.#fd);
  }
}

/** Whether a range of the store begins with these bytes. */
export function isEqual(range: Candidate, bytes: Uint8Array): boolean {
  using open = new OpenRange(range);
  open.compare(bytes, 0);
  return open.equal;
}

/**
 * Hashes a range of the store.
 * @returns sha256 in hexadecimal; `undefined` if the range is shorter or cannot be read
 */
export function hashRange(range: Candidate, length: number): string | undefined {
  using open = new OpenRange(range);
  const hash = createHash("sha256");
  for (let at = 0; at < length; at += PIECE) {
    const piece = open.read(at, Math.min(PIECE, length - at));
    if (!piece) return undefined;
    hash.update(piece);
  }
  return hash.digest("hex");
}

function openIfPossible(path: string): number | undefined {
  try {
    return openSync(path, constants.O_RDONLY);
  } catch {
    return undefined;
  }
}

function readIfPossible(fd: number, target: Uint8Array, at: number): number {
  try {
    return readSync(fd, target, 0, target.byteLength, at);
  } catch {
    return 0;
  }
}
