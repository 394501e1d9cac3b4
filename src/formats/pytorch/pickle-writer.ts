import { ByteWriter } from "../../io/byte-writer.ts";
import { Op } from "./opcodes.ts";

/** Items per batch of Python's pickler. */
const BATCH = 1000;
const TUPLES = [Op.emptyTuple, Op.tuple1, Op.tuple2, Op.tuple3] as const;

/**
 * Writes a pickle of protocol 2 as Python's pickler does: it memoizes every object, and writes an object that occurs
 * again as a reference. Source: the module pickletools of Python 3.
 */
export class PickleWriter {
  readonly #out = new ByteWriter();
  /** Memo index of each object that may occur again. */
  readonly #said = new Map<string, number>();
  #kept = 0;

  constructor() {
    this.#out.uint8(Op.proto);
    this.#out.uint8(2);
  }

  op(code: number): void {
    this.#out.uint8(code);
  }

  /** Writes a class or a function. */
  global(module: string, name: string): void {
    const line = `${module}\n${name}\n`;
    this.#once(`c${line}`, () => {
      this.op(Op.global);
      this.#out.bytes(new TextEncoder().encode(line));
    });
  }

  /** Writes a string that is one object in Python. */
  constant(value: string): void {
    this.#once(`X${value}`, () => this.#text(value));
  }

  /** Writes a string that is a new object. */
  text(value: string): void {
    this.#text(value);
    this.keep();
  }

  /** @param value a whole number from 0 to 2^53 - 1 */
  number(value: number): void {
    if (value < 2 ** 8) {
      this.op(Op.binint1);
      this.#out.uint8(value);
    } else if (value < 2 ** 16) {
      this.op(Op.binint2);
      this.#out.uint16(value);
    } else if (value < 2 ** 31) {
      this.op(Op.binint);
      this.#out.uint32(value);
    } else {
      // Two's complement takes one bit more than the number has, in whole bytes.
      const length = Math.floor(value.toString(2).length / 8) + 1;
      this.op(Op.long1);
      this.#out.uint8(length);
      for (let at = 0; at < length; at++) this.#out.uint8(Math.floor(value / 2 ** (8 * at)) % 256);
    }
  }

  /** Writes a tuple of `length` values, which `each` writes. */
  tuple(length: number, each: () => void): void {
    const short = TUPLES[length];
    if (short === undefined) this.op(Op.mark);
    each();
    this.op(short ?? Op.tuple);
    if (length > 0) this.keep();
  }

  numbers(values: readonly number[]): void {
    this.tuple(values.length, () => {
      for (const value of values) this.number(value);
    });
  }

  /** Writes an `OrderedDict`, whose keys and values `each` writes. */
  orderedDict<T>(items: readonly T[], each: (item: T, nth: number) => void): void {
    this.global("collections", "OrderedDict");
    this.op(Op.emptyTuple);
    this.call();
    for (let start = 0; start < items.length; start += BATCH) {
      const batch = items.slice(start, start + BATCH);
      if (batch.length > 1) this.op(Op.mark);
      for (const [nth, item] of batch.entries()) each(item, start + nth);
      this.op(batch.length > 1 ? Op.setitems : Op.setitem);
    }
  }

  /** Calls the function on the stack with the tuple above it. */
  call(): void {
    this.op(Op.reduce);
    this.keep();
  }

  /** Memoizes the last object. */
  keep(): void {
    const nth = this.#kept++;
    this.#place(Op.binput, Op.longBinput, nth);
  }

  finish(): Uint8Array {
    this.op(Op.stop);
    return this.#out.finish();
  }

  #once(what: string, say: () => void): void {
    const nth = this.#said.get(what);
    if (nth !== undefined) return this.#place(Op.binget, Op.longBinget, nth);
    say();
    this.#said.set(what, this.#kept);
    this.keep();
  }

  #place(short: number, long: number, nth: number): void {
    this.op(nth < 2 ** 8 ? short : long);
    if (nth < 2 ** 8) this.#out.uint8(nth);
    else this.#out.uint32(nth);
  }

  #text(value: string): void {
    const bytes = new TextEncoder().encode(value);
    this.op(Op.binunicode);
    this.#out.uint32(bytes.byteLength);
    this.#out.bytes(bytes);
  }
}
