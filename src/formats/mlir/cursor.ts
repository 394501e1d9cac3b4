import type { FileFail } from "../../errors.ts";
import { MAX_ITEMS } from "./schema.ts";

/** Reads the primitives of MLIR bytecode from bytes in memory. */
export class MlirCursor {
  at = 0;
  readonly #bytes: Uint8Array;
  readonly #start: number;
  readonly #fail: FileFail;

  /** @param start offset of the bytes in the file, for errors */
  constructor(bytes: Uint8Array, start: number, fail: FileFail) {
    this.#bytes = bytes;
    this.#start = start;
    this.#fail = fail;
  }

  /** Bytes from the start of the file. */
  get offset(): number {
    return this.#start + this.at;
  }

  get left(): number {
    return this.#bytes.byteLength - this.at;
  }

  byte(what: string): number {
    return this.take(1, what)[0] as number;
  }

  take(length: number, what: string): Uint8Array {
    if (length > this.left) {
      throw this.#fail("malformed", `${what} takes ${length} bytes, ${this.left} are left`, {
        offset: this.offset,
      });
    }
    this.at += length;
    return this.#bytes.subarray(this.at - length, this.at);
  }

  /** Accepts over-long encodings, as LLVM does: writers reserve room for numbers that they fill in later. */
  varint(what: string): number {
    const start = this.offset;
    const first = this.byte(what);
    if (first & 1) return first >> 1;
    const more = first === 0 ? 8 : 31 - Math.clz32(first & -first);
    let value = first === 0 ? 0 : first >> (more + 1);
    let unit = first === 0 ? 1 : 2 ** (7 - more);
    for (const byte of this.take(more, what)) {
      value += byte * unit;
      unit *= 256;
    }
    if (value > Number.MAX_SAFE_INTEGER) {
      throw this.#fail("malformed", `${what} is over ${Number.MAX_SAFE_INTEGER}`, { offset: start });
    }
    return value;
  }

  /** Reads a count of items of at least `smallest` bytes, bounded by the bytes left and by {@link MAX_ITEMS}. */
  count(what: string, smallest: number): number {
    const start = this.offset;
    const count = this.varint(what);
    if (count * smallest > this.left) {
      throw this.#fail("malformed", `${what} is ${count}, and ${this.left} bytes are left`, {
        offset: start,
      });
    }
    if (count > MAX_ITEMS)
      throw this.#fail("too-large", `${what} is ${count}, over ${MAX_ITEMS}`, { offset: start });
    return count;
  }
}
