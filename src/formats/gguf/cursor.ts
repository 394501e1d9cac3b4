import type { FileFail, FormatError } from "../../errors.ts";
import { CUT_OFF } from "../failure.ts";
import { type GgufFile, ggufErrors } from "./file.ts";

/** Thrown where a header continues past the bytes in memory. Parsers catch it: it never reaches a caller. */
export class WindowEnd extends RangeError {}

/**
 * Reads the start of a file in order. The rest of the file bounds every length and count before anything is allocated.
 */
export class GgufCursor {
  readonly file: GgufFile;
  readonly fail: FileFail;
  readonly bytes: Uint8Array;
  readonly view: DataView;
  /** Bytes from the start of the file. */
  at = 0;

  /** @param bytes the start of the file; the file may be longer */
  constructor(bytes: Uint8Array, file: GgufFile) {
    this.file = file;
    this.fail = ggufErrors(file);
    this.bytes = bytes.subarray(0, file.size);
    this.view = new DataView(this.bytes.buffer, this.bytes.byteOffset, this.bytes.byteLength);
  }

  /** Refuses a length past the end of the file. */
  need(length: number, what: string): void {
    if (length > this.file.size - this.at) {
      throw this.fail("malformed", `${what} ends past the end of the file at ${this.file.size}`, {
        offset: this.at,
        hint: CUT_OFF,
      });
    }
    if (length > this.bytes.byteLength - this.at) throw new WindowEnd(`${what} is not at hand`);
  }

  /** Reads so many bytes and moves past them. */
  take(length: number, what: string): Uint8Array {
    this.need(length, what);
    this.at += length;
    return this.bytes.subarray(this.at - length, this.at);
  }

  uint32(what: string): number {
    this.need(4, what);
    this.at += 4;
    return this.view.getUint32(this.at - 4, true);
  }

  uint64(what: string): bigint {
    this.need(8, what);
    this.at += 8;
    return this.view.getBigUint64(this.at - 8, true);
  }

  /**
   * Reads the number of items that follow, each of at least `least` bytes.
   * @throws FormatError `malformed` if the rest of the file cannot hold so many; `too-large` for over `most`
   */
  count(what: string, least: number, most: number = Number.MAX_SAFE_INTEGER): number {
    const start = this.at;
    const count = this.uint64(what);
    const left = this.file.size - this.at;
    if (count > BigInt(Math.floor(left / least))) {
      throw this.fail("malformed", `${what} is ${count}, and ${left} bytes are left`, { offset: start });
    }
    if (count > BigInt(most)) {
      throw this.fail("too-large", `${what} is ${count}, over ${most}`, { offset: start });
    }
    return Number(count);
  }

  /** Reads a length, and that many bytes. */
  string(what: string, longest: number = Number.MAX_SAFE_INTEGER): Uint8Array {
    return this.take(this.count(`the length of ${what}`, 1, longest), what);
  }

  /** Skips strings without decoding them: a model has some 100,000 tokens. */
  skipStrings(count: number, what: string): void {
    for (let index = 0; index < count; index++) {
      this.need(8, what);
      const low = this.view.getUint32(this.at, true);
      const high = this.view.getUint32(this.at + 4, true);
      // Exact below 2^53; larger lengths are past the end of every file.
      const length = high * 2 ** 32 + low;
      this.at += 8;
      this.need(length, what);
      this.at += length;
    }
  }
}

/**
 * Runs a parser over the bytes in memory.
 * @returns `undefined` if it needs more bytes
 */
export function within<T>(parse: () => T): T | undefined {
  try {
    return parse();
  } catch (error) {
    if (error instanceof WindowEnd) return undefined;
    throw error;
  }
}

/** Converts a 64-bit number of a file to an exact `number`. */
export function toSafeNumber(value: bigint, fail: () => FormatError): number {
  if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw fail();
  return Number(value);
}
