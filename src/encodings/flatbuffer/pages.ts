import type { ByteSource, ReadOptions } from "../../io/byte-source.ts";
import { fileErrors } from "../../errors.ts";

/** Size of a page, in bytes. Large flatbuffers are read in pages: they have weights between their tables. */
const PAGE = 16 * 1024;
/** Largest flatbuffer that is read as a whole, in bytes. */
const WHOLE = 32 * 1024 * 1024;
/** Most bytes of pages to read. Tables of real files take a tenth. */
const MAX_FETCHED = 64 * 1024 * 1024;

/** Thrown if a parser needs bytes that are not fetched yet. {@link parsePages} catches it. */
class NotFetched extends RangeError {
  readonly offset: number;
  readonly length: number;

  constructor(offset: number, length: number) {
    super(`${length} bytes at ${offset} were not fetched`);
    this.offset = offset;
    this.length = length;
  }
}

/** The start of a file, with the pages in memory that were needed so far. */
export class Pages {
  /** Names the file in errors. */
  readonly name: string;
  /** End of the flatbuffer, in bytes. */
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

  /** A view of bytes from an offset on, at least `length`, which the caller checked to be inside. */
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

  /** Copies bytes of several pages. */
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
   * Fetches missing pages, and half as many further pages as there are: the parser restarts each time, and must not do
   * so for each page of a file with tables everywhere.
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
 * Parses the start of a file. A short one is read as a whole, of a long one only the pages that the parser needs.
 * @param size of the part to parse, in bytes, inside the source
 * @param parse a pure function, which restarts each time that it misses a page
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
