import { fileErrors } from "../../errors.ts";

/** A range of a file. */
export interface Gap {
  /** In bytes from the start of the file. */
  readonly offset: number;
  /** In bytes. */
  readonly length: number;
}

/**
 * A file of which only part is in memory: everything but its gaps. Offsets are those of the whole file, so that
 * what a parser reports stays true whether the gaps were skipped (reading) or were never stored (a program).
 */
export class SparseBytes {
  readonly name: string;
  /** Size of the whole file, gaps included. */
  readonly size: number;
  /** Sorted, apart from each other, inside the file. */
  readonly gaps: readonly Gap[];
  /** The bytes between the gaps, one after the other. */
  readonly bytes: Uint8Array;
  /** For each gap, how many gap bytes lie before its end. */
  readonly #skipped: readonly number[];
  /** Index of the first gap that ends after the last offset looked up: parsers go on near by. */
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
   * Where the byte at a file offset lies in {@link bytes}.
   * @throws FormatError `malformed` if it lies in a gap
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
   * A view of a range that holds no gap.
   * @throws FormatError `malformed` if it runs into a gap or past the end
   */
  slice(offset: number, length: number): Uint8Array {
    if (length === 0) return new Uint8Array(0);
    const run = this.run(offset);
    if (run.byteLength < length) {
      const reason = `${length} bytes at ${offset} run past what there is`;
      throw fileErrors(this, { verb: "parse" })("malformed", reason, { offset });
    }
    return run.subarray(0, length);
  }
}
