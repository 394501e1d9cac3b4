import { fileErrors } from "../../errors.ts";

/** A range of a file that is not in memory. */
export interface Gap {
  /** Bytes from the start of the file. */
  readonly offset: number;
  /** In bytes. */
  readonly length: number;
}

/**
 * A file in memory, except for its gaps. Offsets are those of the whole file, so that errors are right whether gaps
 * were skipped (reading) or are not stored (a program).
 */
export class SparseBytes {
  readonly name: string;
  /** Size of the whole file, gaps included. */
  readonly size: number;
  /** Sorted, disjoint, inside the file. */
  readonly gaps: readonly Gap[];
  /** The bytes between the gaps, concatenated. */
  readonly bytes: Uint8Array;
  /** For each gap, the number of gap bytes before its end. */
  readonly #skipped: readonly number[];
  /** Index of the first gap that ends after the last lookup: the next one is usually near. */
  #next = 0;

  constructor(name: string, bytes: Uint8Array, gaps: readonly Gap[] = []) {
    let skipped = 0;
    const sums: number[] = [];
    for (const gap of gaps) {
      skipped += gap.length;
      sums.push(skipped);
    }
    this.name = name;
    this.size = bytes.byteLength + skipped;
    this.gaps = gaps;
    this.bytes = bytes;
    this.#skipped = sums;
  }

  /**
   * Converts a file offset to an index in {@link bytes}.
   * @throws FormatError `malformed` if it is in a gap
   */
  position(offset: number): number {
    const { gaps } = this;
    let index = this.#next;
    for (let gap = gaps[index - 1]; gap && offset < gap.offset + gap.length; gap = gaps[index - 1]) index--;
    for (let gap = gaps[index]; gap && gap.offset + gap.length <= offset; gap = gaps[index]) index++;
    this.#next = index;
    const gap = gaps[index];
    if (gap && offset >= gap.offset) {
      throw fileErrors(this, { verb: "parse" })("malformed", `byte ${offset} belongs to a weight`, {
        offset,
      });
    }
    return index === 0 ? offset : offset - (this.#skipped[index - 1] as number);
  }

  /** Bytes in memory from `offset` on, up to the next gap or the end of the file; a view. */
  run(offset: number): Uint8Array {
    const start = this.position(offset);
    const gap = this.gaps[this.#next];
    return this.bytes.subarray(start, gap ? start + (gap.offset - offset) : this.bytes.byteLength);
  }

  /**
   * A view of a range without gaps.
   * @throws FormatError `malformed` if it extends into a gap or past the end
   */
  slice(offset: number, length: number): Uint8Array {
    if (length === 0) return new Uint8Array(0);
    const run = this.run(offset);
    if (run.byteLength < length) {
      const reason = `${length} bytes at ${offset} run past the bytes in memory`;
      throw fileErrors(this, { verb: "parse" })("malformed", reason, { offset });
    }
    return run.subarray(0, length);
  }
}
