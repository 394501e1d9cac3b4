import type { ByteSource, ReadOptions } from "../../io/byte-source.ts";
import { fileErrors } from "../../errors.ts";

/** What is read at once where a flatbuffer has too many bytes to be read whole: weights lie between its tables. */
const PAGE = 16 * 1024;
/** Flatbuffers up to this are read whole, in bytes. */
const WHOLE = 32 * 1024 * 1024;
/** The most that tables may take up in a flatbuffer that is read in pages, in bytes; real ones have a tenth. */
const MAX_FETCHED = 64 * 1024 * 1024;

/** Thrown where a parser comes to bytes that were not fetched yet. Leaves no reader. */
class NotFetched extends RangeError {
  readonly offset: number;
  readonly length: number;

  constructor(offset: number, length: number) {
    super(`${length} bytes at ${offset} were not fetched`);
    this.offset = offset;
    this.length = length;
  }
}

/** The start of a file, of which what was needed so far is in memory. */
export class Pages {
  /** For errors. */
  readonly name: string;
  /** In bytes: where the flatbuffer ends. */
  readonly size: number;
  readonly #source: ByteSource;
  readonly #page: number;
  readonly #pages = new Map<number, DataView>();
  #fetched = 0;

  /** @param size in bytes, inside the source */
  constructor(source: ByteSource, size: number) {
    this.name = source.name;
    this.size = size;
    this.#source = source;
    this.#page = size <= WHOLE ? Math.max(size, 1) : PAGE;
  }

  /** Bytes from an offset on, at least `length` of them, which the caller knows to be inside; a view. */
  view(offset: number, length: number): DataView {
    if (length === 0) return new DataView(new ArrayBuffer(0));
    const nth = Math.floor(offset / this.#page);
    const page = this.#pages.get(nth);
    if (!page) throw new NotFetched(offset, length);
    const at = offset - nth * this.#page;
    if (page.byteLength - at >= length) {
      return new DataView(page.buffer, page.byteOffset + at, page.byteLength - at);
    }
    return this.#gather(offset, length);
  }

  /** Bytes that lie in several pages, copied. */
  #gather(offset: number, length: number): DataView {
    const bytes = new Uint8Array(length);
    for (let at = offset; at < offset + length; ) {
      const nth = Math.floor(at / this.#page);
      const page = this.#pages.get(nth);
      if (!page) throw new NotFetched(offset, length);
      const from = at - nth * this.#page;
      const count = Math.min(page.byteLength - from, offset + length - at);
      bytes.set(new Uint8Array(page.buffer, page.byteOffset + from, count), at - offset);
      at += count;
    }
    return new DataView(bytes.buffer);
  }

  /**
   * Fetches what was missed, and of what follows half as much as there is: the parser begins anew each time, and where
   * tables are all over the file it must not do so for each page.
   * @throws FormatError `too-large`
   */
  async fetch(offset: number, length: number, options: ReadOptions): Promise<void> {
    const first = Math.floor(offset / this.#page);
    const needed = Math.floor((offset + length - 1) / this.#page);
    const last = Math.min(
      needed + Math.floor(this.#pages.size / 2),
      Math.floor((this.size - 1) / this.#page),
    );
    for (let nth = first; nth <= last; nth++) {
      if (this.#pages.has(nth)) continue;
      const start = nth * this.#page;
      const count = Math.min(this.#page, this.size - start);
      if (this.#fetched + count > MAX_FETCHED) {
        if (nth > needed) return;
        throw fileErrors(this)("too-large", `its tables take over ${MAX_FETCHED} bytes`, { offset });
      }
      const bytes = await this.#source.read(start, count, options);
      this.#fetched += count;
      this.#pages.set(nth, new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength));
    }
  }
}

/**
 * Parses the start of a file: a short one is read whole, of a long one the pages that the parser comes to.
 * @param size of the part to parse, in bytes, inside the source
 * @param parse pure: it is begun anew each time that it misses a page
 * @throws FormatError what `parse` throws, and `too-large`
 */
export async function parsePages<T>(
  source: ByteSource,
  size: number,
  parse: (pages: Pages) => T,
  options: ReadOptions = {},
): Promise<T> {
  const pages = new Pages(source, size);
  for (;;) {
    try {
      return parse(pages);
    } catch (error) {
      if (!(error instanceof NotFetched)) throw error;
      await pages.fetch(error.offset, error.length, options);
    }
  }
}
