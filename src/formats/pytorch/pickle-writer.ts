import { ByteWriter } from "../../io/byte-writer.ts";
import { Op } from "./opcodes.ts";

/** What Python's pickler sets at a time. */
const BATCH = 1000;
const TUPLES = [Op.emptyTuple, Op.tuple1, Op.tuple2, Op.tuple3] as const;

/**
 * Writes a pickle of protocol 2 as Python's pickler does: whatever it may be asked for again is kept, and what is the
 * same object each time is said in full once. Source: the module pickletools of Python 3.
 */
export class PickleWriter {
  readonly #out = new ByteWriter();
  /** What is said once, and the number that it is kept by. */
  readonly #said = new Map<string, number>();
  #kept = 0;

  constructor() {
    this.#out.uint8(Op.proto);
    this.#out.uint8(2);
  }

  op(code: number): void {
    this.#out.uint8(code);
  }

  /** A class or a function. */
  global(module: string, name: string): void {
    const line = `${module}\n${name}\n`;
    this.#once(`c${line}`, () => {
      this.op(Op.global);
      this.#out.bytes(new TextEncoder().encode(line));
    });
  }

  /** A text that is the same object each time. */
  constant(value: string): void {
    this.#once(`X${value}`, () => this.#text(value));
  }

  /** A text of its own. */
  text(value: string): void {
    this.#text(value);
    this.keep();
  }

  /** @param value whole, and not negative */
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
      // Two's complement: one bit more than the number has, in whole bytes.
      const length = Math.floor(value.toString(2).length / 8) + 1;
      this.op(Op.long1);
      this.#out.uint8(length);
      for (let at = 0; at < length; at++) this.#out.uint8(Math.floor(value / 2 ** (8 * at)) % 256);
    }
  }

  /** A tuple of as many values as `each` writes. */
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

  /** An `OrderedDict`, of which `each` writes a key and its value. */
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

  /** Calls what was said with the tuple behind it. */
  call(): void {
    this.op(Op.reduce);
    this.keep();
  }

  /** Keeps what was said last. */
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
