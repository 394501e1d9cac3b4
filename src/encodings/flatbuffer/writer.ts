import { FormatError } from "../../errors.ts";

/** A field of a table: a number, or something written before; `undefined` and zero are left out. */
export type FlatField =
  | { readonly width: 1 | 2 | 4 | 8; readonly value: bigint }
  | { readonly offset: number | undefined };

/** Flatbuffers count in signed 32 bits. */
const LONGEST = 2 ** 31 - 1;

/**
 * Writes a flatbuffer from its end to its start, laid out as flatc lays it out: the widest fields of a table first,
 * layouts that are the same written once. What a table refers to is written before it.
 * Source: https://flatbuffers.dev/internals/ and flatbuffer_builder.h.
 */
export class FlatbufferWriter {
  /** Filled from its end. */
  #bytes = new Uint8Array(1024);
  #length = 0;
  #widest = 1;
  readonly #layouts = new Map<string, number>();

  /** @returns what to refer to it by: how far its start is from the end */
  string(text: string): number {
    const bytes = new TextEncoder().encode(text);
    this.#align(bytes.byteLength + 1, 4);
    this.#number(0n, 1);
    this.#raw(bytes);
    return this.#count(bytes.byteLength);
  }

  /** A vector of what was written before. */
  offsets(targets: readonly number[]): number {
    this.#align(targets.length * 4, 4);
    for (const target of targets.toReversed()) this.#reference(target);
    return this.#count(targets.length);
  }

  /** A vector of numbers. */
  numbers(values: readonly number[], width: 1 | 4): number {
    this.#align(values.length * width, 4);
    this.#align(values.length * width, width);
    for (const value of values.toReversed()) this.#number(BigInt.asUintN(width * 8, BigInt(value)), width);
    return this.#count(values.length);
  }

  table(fields: readonly FlatField[]): number {
    const start = this.#length;
    const places = fields.map(() => 0);
    // Of one width, the last comes first.
    for (const width of [8, 4, 2, 1] as const) {
      for (const [nth, field] of [...fields.entries()].toReversed()) {
        if ("value" in field) {
          if (field.width !== width || field.value === 0n) continue;
          this.#align(0, width);
          this.#number(field.value, width);
        } else {
          if (width !== 4 || field.offset === undefined) continue;
          this.#align(0, 4);
          this.#reference(field.offset);
        }
        places[nth] = this.#length;
      }
    }
    // In place of the distance to the layout, until that is known.
    this.#align(0, 4);
    this.#number(0n, 4);
    const table = this.#length;
    const count = places.findLastIndex((place) => place > 0) + 1;
    const layout = [4 + 2 * count, table - start];
    for (const place of places.slice(0, count)) layout.push(place === 0 ? 0 : table - place);
    const key = layout.join();
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

  /** All that was written, with the root and the identifier before it. */
  finish(root: number, identifier: string): Uint8Array {
    this.#align(8, this.#widest);
    this.#raw(new TextEncoder().encode(identifier));
    this.#reference(root);
    return this.#bytes.slice(this.#bytes.byteLength - this.#length);
  }

  /**
   * All that was written, to follow a flatbuffer that ends at a multiple of 16: what was written before lies as far
   * from the new end as its reference says.
   */
  tail(): Uint8Array {
    this.#align(0, 16);
    return this.#bytes.slice(this.#bytes.byteLength - this.#length);
  }

  #count(count: number): number {
    this.#align(0, 4);
    this.#number(BigInt(count), 4);
    return this.#length;
  }

  /** How far ahead something lies that was written before. */
  #reference(target: number): void {
    this.#align(0, 4);
    this.#number(BigInt(this.#length + 4 - target), 4);
  }

  /** Zeros, so that what is written after `length` more bytes is aligned. */
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

  /** Makes room. @returns where it starts, from the start of the memory */
  #grow(length: number): number {
    const needed = this.#length + length;
    if (needed > LONGEST) {
      throw new FormatError("too-large", "Cannot write a flatbuffer of over 2 GB");
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
