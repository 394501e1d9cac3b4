import { describe, expect, test } from "vitest";
import { memorySource } from "../../src/io/byte-source.ts";
import { Pages, parsePages } from "../../src/encodings/flatbuffer/pages.ts";
import { Flatbuffer, type FlatTable } from "../../src/encodings/flatbuffer/table.ts";
import { FlatbufferWriter } from "../../src/encodings/flatbuffer/writer.ts";
import { FormatError } from "../../src/errors.ts";
import { countingSource } from "../support/counting-source.ts";

/** Bytes of 16- and 32-bit numbers, written as `u16(1)` and plain numbers. */
const u16 = (value: number): { readonly half: number } => ({ half: value });

function bytesOf(...numbers: readonly (number | { readonly half: number })[]): Uint8Array {
  const bytes: number[] = [];
  for (const each of numbers) {
    const value = typeof each === "number" ? each : each.half;
    for (let byte = 0; byte < (typeof each === "number" ? 4 : 2); byte++) {
      bytes.push(Math.floor((value >>> 0) / 2 ** (8 * byte)) % 256);
    }
  }
  return Uint8Array.from(bytes);
}

async function read<T>(bytes: Uint8Array, use: (root: FlatTable) => T): Promise<T> {
  return parsePages(memorySource(bytes, "x.fb"), bytes.length, (pages) => use(new Flatbuffer(pages).root()));
}

async function refusal(bytes: Uint8Array, use: (root: FlatTable) => unknown): Promise<FormatError> {
  const error = await read(bytes, use).then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(FormatError);
  return error as FormatError;
}

/** Root at 12, its layout at 4: one field of 4 bytes. */
const table = (field: number, ...rest: readonly number[]): Uint8Array =>
  bytesOf(12, u16(6), u16(8), u16(4), u16(0), 8, field, ...rest);

describe("FlatTable", () => {
  test("reads fields where they lie, and defaults where they are not", async () => {
    const writer = new FlatbufferWriter();
    const text = writer.string("späß");
    const numbers = writer.numbers([1, -2, 3], 4);
    const inner = writer.table([{ width: 8, value: 2n ** 60n }]);
    const vector = writer.offsets([inner, inner]);
    const root = writer.table([
      { width: 1, value: 250n },
      { offset: text },
      { offset: numbers },
      { offset: undefined },
      { offset: vector },
      { width: 4, value: 7n },
      { width: 8, value: 0n },
    ]);
    const bytes = writer.finish(root, "TEST");
    await read(bytes, (found) => {
      expect(found.buffer.identifier()).toBe("TEST");
      expect(found.int8(0)).toBe(-6);
      expect(found.string(1)).toBe("späß");
      expect(found.int32s(2)).toEqual([1, -2, 3]);
      expect(found.table(3)).toBeUndefined();
      expect([...found.tables(4)].map((each) => each.uint64(0))).toEqual([2n ** 60n, 2n ** 60n]);
      expect(found.uint32(5)).toBe(7);
      expect(found.uint64(6)).toBe(0n);
      expect(found.string(99)).toBeUndefined();
      expect([...found.tables(99)]).toEqual([]);
    });
  });

  test("does not demand alignment", async () => {
    // The same table, a byte further on.
    const bytes = table(77);
    const shifted = Uint8Array.from([13, 0, 0, 0, 0, ...bytes.subarray(4)]);
    expect(await read(shifted, (root) => root.uint32(0))).toBe(77);
  });

  test("reads a field that goes on past the size that its table is said to have", async () => {
    // Two tables of one number each, of 32 and 64 bits, with one layout: what Python's package wrote until 2025.
    const writer = new FlatbufferWriter({ order: "number", sizeless: true });
    const small = writer.table([{ width: 4, value: 1n }]);
    const large = writer.table([{ width: 8, value: 2n ** 40n }]);
    const root = writer.table([{ offset: small }, { offset: large }]);
    const bytes = writer.finish(root, "TEST");
    expect(await read(bytes, (each) => each.table(1)?.uint64(0))).toBe(2n ** 40n);
    expect(await read(bytes, (each) => [each.table(0)?.size, each.table(1)?.size])).toEqual([8, 8]);
  });

  test.each<[string, Uint8Array, string, (root: FlatTable) => unknown]>([
    ["a root past the end", bytesOf(400, 0), "the root table has the invalid place 400", () => 0],
    ["a root inside its own offset", bytesOf(0, 0), "the root table has the invalid place 0", () => 0],
    ["nothing at all", bytesOf(), "the root table ends past the end", () => 0],
    ["a layout before the file", bytesOf(4, 8), "its layout has the invalid place -4", () => 0],
    ["a layout past the end", bytesOf(4, -4000), "the layout of a table ends past the end", () => 0],
    ["a layout that is its own table", bytesOf(4, 0), "the layout of a table has 0 bytes", () => 0],
    ["a layout of 2 bytes", bytesOf(8, u16(2), u16(4), 4), "the layout of a table has 2 bytes", () => 0],
    ["a layout of 5 bytes", bytesOf(8, u16(5), u16(4), 4), "the layout of a table has 5 bytes", () => 0],
    ["a table of 3 bytes", bytesOf(8, u16(4), u16(3), 4), "a table has 3 bytes", () => 0],
    ["a field past the end", table(1), "field 0 of a table ends past the end", (root) => root.uint64(0)],
    [
      "a field over the table's own offset",
      bytesOf(12, u16(6), u16(8), u16(3), u16(0), 8, 1),
      "field 0 of a table is at byte 3 of it",
      (root) => root.uint32(0),
    ],
    ["a table past the end", table(2 ** 31), "a table has the invalid place", (root) => root.table(0)],
    ["a table that is its own", table(0), "a table has the invalid place 16", (root) => root.table(0)],
    ["a long vector", table(4, 2 ** 31), "a vector of 2147483648 elements", (root) => root.uint64s(0)],
    ["a long string", table(4, 5, 0), "a vector of 5 elements ends past", (root) => root.string(0)],
    ["a string of no text", table(4, 2, 0xfffe), "a string is not UTF-8", (root) => root.string(0)],
  ])("refuses %s", async (_, bytes, message, use) => {
    const error = await refusal(bytes, use);
    expect(error.message).toContain(`Cannot read "x.fb": `);
    expect(error.message).toContain(message);
    expect(error).toMatchObject({ code: "malformed", path: "x.fb", offset: expect.any(Number) });
  });

  test("ends with tables that share others, ever more of them", async () => {
    // 24 tables, each a vector of the next one, eight times: 8^24 ways through 1.5 KB.
    const writer = new FlatbufferWriter();
    let inner = writer.table([]);
    for (let depth = 0; depth < 24; depth++) {
      inner = writer.table([{ offset: writer.offsets(Array.from({ length: 8 }, () => inner)) }]);
    }
    const walk = (each: FlatTable): void => {
      for (const next of each.tables(0)) walk(next);
    };
    const error = await refusal(writer.finish(inner, "TEST"), walk);
    expect(error.message).toContain("its tables share others too often");
  });

  test("refuses flatbuffers over 2 GB, and strings over 64 KiB", async () => {
    const source = { ...memorySource(new Uint8Array(8), "x.fb"), size: 2 ** 31 };
    expect(() => new Flatbuffer(new Pages(source, source.size)).root()).toThrow("over 2 GB");
    const writer = new FlatbufferWriter();
    const root = writer.table([{ offset: writer.string("x".repeat(70_000)) }]);
    expect(await refusal(writer.finish(root, "TEST"), (each) => each.string(0))).toMatchObject({
      code: "too-large",
    });
  });
});

describe("parsePages()", () => {
  test("reads a short flatbuffer once, and only as far as it is said to go", async () => {
    const bytes = table(3, 0, 0, 0);
    const source = countingSource(memorySource(bytes));
    expect(await parsePages(source, 20, (pages) => new Flatbuffer(pages).root().uint32(0))).toBe(3);
    expect(source.reads).toEqual([{ offset: 0, length: 20 }]);
  });

  test("begins anew a few times, where what a parser comes to is all over a long one", async () => {
    const size = 33 * 1024 * 1024;
    const source = countingSource({ name: "long", size, read: async (_, length) => new Uint8Array(length) });
    let begun = 0;
    await parsePages(source, size, (pages) => {
      begun++;
      for (let at = 0; at < size; at += 16 * 1024) pages.view(at, 4);
    });
    expect(begun).toBeLessThan(30);
    expect(source.bytes).toBe(size);
  });

  test("reads of a long one the pages that matter", async () => {
    const size = 300 * 1024 * 1024;
    const start = table(size - 16 - 16 * 1024 - 6);
    const text = "of two pages";
    // The page ends after two of its letters.
    const end = bytesOf(text.length);
    const at = size - 16 * 1024 - 6;
    const source = countingSource({
      name: "long",
      size,
      async read(offset, length) {
        const bytes = new Uint8Array(length);
        const put = (from: number, part: Uint8Array): void =>
          part.forEach((byte, nth) => {
            if (from + nth >= offset && from + nth < offset + length) bytes[from + nth - offset] = byte;
          });
        put(0, start);
        put(at, end);
        put(at + 4, new TextEncoder().encode(text));
        return bytes;
      },
    });
    const found = await parsePages(source, size, (pages) => new Flatbuffer(pages).root().string(0));
    expect(found).toBe(text);
    expect(source.bytes).toBeLessThan(100 * 1024);
  });
});
