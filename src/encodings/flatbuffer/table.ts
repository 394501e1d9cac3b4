import { fileErrors, type FileFail } from "../../errors.ts";
import type { Pages } from "./pages.ts";

/** Longest string, in bytes. Strings are names and keys. */
const MAX_STRING_LENGTH = 64 * 1024;
/** Largest flatbuffer, in bytes: offsets are signed 32-bit numbers. */
const LONGEST = 2 ** 31 - 1;

/**
 * A flatbuffer, whose tables are parsed in place and fully checked. Offsets point forward only, so that no table
 * contains itself; but many may share one, so the steps of a parser are bounded by the file's size. Alignment is not
 * checked: nothing depends on it.
 * Source: https://flatbuffers.dev/internals/
 */
export class Flatbuffer {
  /** Names the file in errors. */
  readonly name: string;
  readonly fail: FileFail;
  readonly #pages: Pages;
  #steps: number;

  constructor(pages: Pages) {
    this.name = pages.name;
    this.fail = fileErrors(pages);
    this.#pages = pages;
    // A table or vector takes 8 bytes with its offset: on average, each may be visited four times.
    this.#steps = 1024 + pages.size / 2;
  }

  /**
   * The root table.
   * @throws FormatError `malformed`, `too-large`
   */
  root(): FlatTable {
    if (this.#pages.size > LONGEST) {
      throw this.fail("too-large", `it has ${this.#pages.size} bytes, over 2 GB`, { offset: 0 });
    }
    return new FlatTable(this, this.follow(0, "the root table"));
  }

  /** The four letters after the root's offset. */
  identifier(): string {
    const view = this.view(4, 4, "its identifier");
    return String.fromCharCode(...new Uint8Array(view.buffer, view.byteOffset, 4));
  }

  /** A view of bytes, which must be inside. */
  view(offset: number, length: number, what: string): DataView {
    this.within(offset, length, what);
    return this.#pages.view(offset, length);
  }

  /** Refuses a range that is not completely inside. */
  within(offset: number, length: number, what: string): void {
    const { size } = this.#pages;
    if (length > size - offset)
      throw this.fail("malformed", `${what} ends past the end of its tables at ${size}`, { offset });
  }

  /** Follows an offset of the file. @returns its target */
  follow(at: number, what: string): number {
    const distance = this.view(at, 4, what).getUint32(0, true);
    const target = at + distance;
    if (distance < 4 || target > this.#pages.size - 4) {
      throw this.fail("malformed", `${what} has the invalid place ${target}`, { offset: at });
    }
    return target;
  }

  /** Counts steps, and refuses more than a flatbuffer of this size has parts. */
  step(at: number, count = 1): void {
    this.#steps -= count;
    if (this.#steps < 0)
      throw this.fail("malformed", "its tables share others too often", {
        offset: at,
      });
  }
}

/** A vector; its elements are not read. */
export interface FlatVector {
  /** Offset of its first element, in bytes from the start of the file. */
  readonly at: number;
  readonly count: number;
}

/** A table of a flatbuffer. Fields are read by their number in the schema; a missing field has its default. */
export class FlatTable {
  readonly buffer: Flatbuffer;
  /** Bytes from the start of the file. */
  readonly at: number;
  /** Number of fields in its layout. */
  readonly fields: number;
  /**
   * Size in its layout, in bytes. Nothing depends on it: Python's package lets tables of other sizes share a layout
   * with the same offsets (google/flatbuffers issue 8653).
   */
  readonly size: number;
  readonly #vtable: number;

  constructor(buffer: Flatbuffer, at: number) {
    buffer.step(at);
    this.buffer = buffer;
    this.at = at;
    this.#vtable = at - buffer.view(at, 4, "a table").getInt32(0, true);
    if (this.#vtable < 0)
      throw buffer.fail("malformed", `its layout has the invalid place ${this.#vtable}`, { offset: at });
    const header = buffer.view(this.#vtable, 4, "the layout of a table");
    const length = header.getUint16(0, true);
    this.size = header.getUint16(2, true);
    if (length < 4 || length % 2 !== 0) {
      throw buffer.fail("malformed", `the layout of a table has ${length} bytes`, { offset: this.#vtable });
    }
    if (this.size < 4) throw buffer.fail("malformed", `a table has ${this.size} bytes`, { offset: at });
    buffer.view(this.#vtable, length, "the layout of a table");
    this.fields = (length - 4) / 2;
  }

  /** Offset of a field, in bytes from the start of the file; `undefined` if it is missing. */
  position(field: number, width: number): number | undefined {
    if (field >= this.fields) return undefined;
    const entry = this.#vtable + 4 + 2 * field;
    const offset = this.buffer.view(entry, 2, "the layout of a table").getUint16(0, true);
    if (offset === 0) return undefined;
    if (offset < 4)
      throw this.buffer.fail("malformed", `field ${field} of a table is at byte ${offset} of it`, {
        offset: entry,
      });
    this.buffer.within(this.at + offset, width, `field ${field} of a table`);
    return this.at + offset;
  }

  int8(field: number): number {
    return this.#scalar(field, 1)?.getInt8(0) ?? 0;
  }

  int32(field: number): number {
    return this.#scalar(field, 4)?.getInt32(0, true) ?? 0;
  }

  uint32(field: number): number {
    return this.#scalar(field, 4)?.getUint32(0, true) ?? 0;
  }

  uint64(field: number): bigint {
    return this.#scalar(field, 8)?.getBigUint64(0, true) ?? 0n;
  }

  /** An unsigned number of so many bytes. */
  number(field: number, width: 1 | 4 | 8): bigint {
    const view = this.#scalar(field, width);
    if (!view) return 0n;
    if (width === 8) return view.getBigUint64(0, true);
    return BigInt(width === 4 ? view.getUint32(0, true) : view.getUint8(0));
  }

  #scalar(field: number, width: number): DataView | undefined {
    const at = this.position(field, width);
    return at === undefined ? undefined : this.buffer.view(at, width, "a field");
  }

  table(field: number): FlatTable | undefined {
    const at = this.position(field, 4);
    return at === undefined ? undefined : new FlatTable(this.buffer, this.buffer.follow(at, "a table"));
  }

  /** @throws FormatError `malformed` for a string that is not UTF-8; `too-large` over 64 KiB */
  string(field: number): string | undefined {
    const vector = this.vector(field, 1);
    if (!vector) return undefined;
    const { at, count } = vector;
    if (count > MAX_STRING_LENGTH)
      throw this.buffer.fail("too-large", `a string has ${count} bytes`, { offset: at });
    this.buffer.step(at, count / 64);
    const view = this.buffer.view(at, count, "a string");
    try {
      return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(
        new Uint8Array(view.buffer, view.byteOffset, count),
      );
    } catch {
      throw this.buffer.fail("malformed", "a string is not UTF-8", { offset: at });
    }
  }

  /**
   * A vector, whose elements are inside the flatbuffer.
   * @param width of an element, in bytes
   */
  vector(field: number, width: number): FlatVector | undefined {
    const position = this.position(field, 4);
    if (position === undefined) return undefined;
    const start = this.buffer.follow(position, "a vector");
    this.buffer.step(start);
    const count = this.buffer.view(start, 4, "a vector").getUint32(0, true);
    const at = start + 4;
    this.buffer.within(at, count * width, `a vector of ${count} elements`);
    return { at, count };
  }

  /** The tables of a vector; none if it is missing. */
  *tables(field: number): Generator<FlatTable, void, undefined> {
    const vector = this.vector(field, 4);
    for (let nth = 0; nth < (vector?.count ?? 0); nth++) {
      const at = (vector as FlatVector).at + 4 * nth;
      yield new FlatTable(this.buffer, this.buffer.follow(at, "a table"));
    }
  }

  uint8s(field: number): number[] {
    return this.#scalars(field, 1, (view, at) => view.getUint8(at));
  }

  int32s(field: number): number[] {
    return this.#scalars(field, 4, (view, at) => view.getInt32(at, true));
  }

  uint64s(field: number): bigint[] {
    return this.#scalars(field, 8, (view, at) => view.getBigUint64(at, true));
  }

  #scalars<T>(field: number, width: number, read: (view: DataView, at: number) => T): T[] {
    const vector = this.vector(field, width);
    if (!vector) return [];
    const { at, count } = vector;
    this.buffer.step(at, count / 8);
    const view = this.buffer.view(at, count * width, "a vector");
    return Array.from({ length: count }, (_, nth) => read(view, nth * width));
  }
}
