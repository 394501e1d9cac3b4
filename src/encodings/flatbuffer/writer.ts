import { FormatError, operationError } from "../../errors.ts";

/** A field of a table: a number, or a reference to an object written before. `undefined` and zero are left out. */
export type FlatField =
  | { readonly width: 1 | 2 | 4 | 8; readonly value: bigint }
  | { readonly offset: number | undefined };

/** Largest flatbuffer, in bytes: offsets are signed 32-bit numbers. */
const LONGEST = 2 ** 31 - 1;

/** The layout style of a flatbuffer. */
export interface FlatbufferStyle {
  /** Order of a table's fields from its end: the narrowest first, as in flatc, or by number, as in Python's builder. */
  readonly order?: "width" | "number";
  /**
   * Whether tables of other sizes share a layout, as in old versions of Python's builder (google/flatbuffers issue
   * 8653).
   */
  readonly sizeless?: boolean;
  /** Limit of the size, in bytes. */
  readonly longest?: number;
}

/**
 * Writes a flatbuffer from its end to its start. Equal layouts of tables are written once. Objects are written before
 * the tables that refer to them.
 * Source: https://flatbuffers.dev/internals/, flatbuffer_builder.h and builder.py.
 */
export class FlatbufferWriter {
  /** Filled from its end. */
  #bytes = new Uint8Array(1024);
  #length = 0;
  #widest = 1;
  readonly #layouts = new Map<string, number>();
  readonly #rounds: readonly (readonly number[])[];
  readonly #sizeless: boolean;
  readonly #longest: number;

  constructor({ order = "width", sizeless = false, longest = LONGEST }: FlatbufferStyle = {}) {
    this.#sizeless = sizeless;
    this.#rounds = order === "width" ? [[8], [4], [2], [1]] : [[1, 2, 4, 8]];
    this.#longest = Math.min(longest, LONGEST);
  }

  /** Required alignment, in bytes. */
  get alignment(): number {
    return this.#widest;
  }

  /** @returns a reference to it: the distance of its start from the end */
  string(text: string): number {
    return this.text(new TextEncoder().encode(text));
  }

  /** Writes a string of bytes. */
  text(bytes: Uint8Array): number {
    this.#align(bytes.byteLength + 1, 4);
    this.#number(0n, 1);
    this.#raw(bytes);
    return this.#count(bytes.byteLength);
  }

  /** Writes a vector of references. */
  offsets(targets: readonly number[]): number {
    this.#align(targets.length * 4, 4);
    for (const target of targets.toReversed()) this.#reference(target);
    return this.#count(targets.length);
  }

  /** Writes a vector of numbers. */
  numbers(values: readonly (number | bigint)[], width: 1 | 4 | 8): number {
    this.#align(values.length * width, 4);
    this.#align(values.length * width, width);
    for (const value of values.toReversed()) this.#number(BigInt.asUintN(width * 8, BigInt(value)), width);
    return this.#count(values.length);
  }

  /**
   * Writes a vector of numbers, given as bytes.
   * @param width of an element, in bytes
   * @param alignment of the first element, in bytes
   */
  vector(bytes: Uint8Array, width: number, alignment: number): number {
    this.#align(bytes.byteLength, 4);
    this.#align(bytes.byteLength, alignment);
    this.#raw(bytes);
    return this.#count(bytes.byteLength / width);
  }

  table(fields: readonly FlatField[]): number {
    const start = this.#length;
    const places = fields.map(() => 0);
    // Among fields of one width, flatc writes the last first.
    const inOrder = [...fields.entries()];
    if (this.#rounds.length > 1) inOrder.reverse();
    for (const widths of this.#rounds) {
      for (const [nth, field] of inOrder) {
        const width = "value" in field ? field.width : 4;
        if (!widths.includes(width)) continue;
        if ("value" in field) {
          if (field.value === 0n) continue;
          this.#align(0, width);
          this.#number(field.value, width);
        } else {
          if (field.offset === undefined) continue;
          this.#align(0, 4);
          this.#reference(field.offset);
        }
        places[nth] = this.#length;
      }
    }
    // Reserves the distance to the layout, which is not known yet.
    this.#align(0, 4);
    this.#number(0n, 4);
    const table = this.#length;
    const count = places.findLastIndex((place) => place > 0) + 1;
    const layout = [4 + 2 * count, table - start];
    for (const place of places.slice(0, count)) layout.push(place === 0 ? 0 : table - place);
    const key = (this.#sizeless ? layout.toSpliced(1, 1) : layout).join();
    let known = this.#layouts.get(key);
    if (known === undefined) {
      for (const entry of layout.toReversed()) this.#number(BigInt(entry), 2);
      known = this.#length;
      this.#layouts.set(key, known);
    }
    const view = new DataView(this.#bytes.buffer);
    view.setInt32(this.#bytes.byteLength - table, known - table, true);
    return table;
  }

  /** All bytes, after the root's reference and the identifier. */
  finish(root: number, identifier: string): Uint8Array {
    this.#align(8, this.#widest);
    this.#raw(new TextEncoder().encode(identifier));
    this.#reference(root);
    return this.#bytes.slice(this.#bytes.byteLength - this.#length);
  }

  #count(count: number): number {
    this.#align(0, 4);
    this.#number(BigInt(count), 4);
    return this.#length;
  }

  /** Writes the distance to an object written before. */
  #reference(target: number): void {
    this.#align(0, 4);
    this.#number(BigInt(this.#length + 4 - target), 4);
  }

  /** Pads with zeros, so that an object after `length` more bytes is aligned. */
  #align(length: number, alignment: number): void {
    this.#widest = Math.max(this.#widest, alignment);
    const past = (this.#length + length) % alignment;
    if (past > 0) this.#grow(alignment - past);
  }

  #number(value: bigint, width: 1 | 2 | 4 | 8): void {
    const at = this.#grow(width);
    for (let byte = 0; byte < width; byte++) {
      this.#bytes[at + byte] = Number((value >> BigInt(byte * 8)) & 0xffn);
    }
  }

  #raw(bytes: Uint8Array): void {
    const at = this.#grow(bytes.byteLength);
    this.#bytes.set(bytes, at);
  }

  /** Makes room. @returns its index in the memory */
  #grow(length: number): number {
    const needed = this.#length + length;
    if (needed > this.#longest) {
      const doing = `write a flatbuffer of over ${this.#longest} bytes`;
      throw operationError(FormatError, { code: "too-large", doing });
    }
    if (needed > this.#bytes.byteLength) {
      const longer = new Uint8Array(Math.max(needed, this.#bytes.byteLength * 2));
      longer.set(
        this.#bytes.subarray(this.#bytes.byteLength - this.#length),
        longer.byteLength - this.#length,
      );
      this.#bytes = longer;
    }
    this.#length = needed;
    return this.#bytes.byteLength - needed;
  }
}
