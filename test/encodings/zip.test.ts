import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { memorySource } from "../../src/bytes/byte-source.ts";
import { findZipDirectory, parseZipDirectory, zipFailure } from "../../src/encodings/zip/directory.ts";
import { layOutZip, type ZipFile, type ZipLayout } from "../../src/encodings/zip/layout.ts";
import { readZip } from "../../src/encodings/zip/read.ts";
import type { ZipStyle } from "../../src/encodings/zip/records.ts";
import { NPZ_STYLE } from "../../src/formats/npy/archive.ts";
import { counting } from "../support/bytes.ts";

const BEHIND: ZipStyle = {
  ...NPZ_STYLE,
  flagged: "all",
  checksums: "behind",
  largest: 2 ** 32 - 2,
  alwaysEnd64: true,
  alignment: 64,
};
const STYLES = { NumPy: NPZ_STYLE, "checksums behind": BEHIND };
/** As if it were large: each number stands in a zip64 field. */
const SMALL = Object.entries(STYLES).map(([name, style]) => [name, { ...style, largest: 0 }] as const);

/** All of an archive, of files whose bytes count up. */
function written({ starts, frames, size }: ZipLayout, files: readonly ZipFile[]): Uint8Array {
  const bytes = new Uint8Array(size);
  for (const [nth, file] of files.entries()) bytes.set(counting(file.size, nth), starts[nth]);
  for (const { offset, length, encode } of frames) {
    const encoded = encode((nth) => 1000 + nth);
    expect(encoded.byteLength).toBe(length);
    bytes.set(encoded, offset);
  }
  return bytes;
}

describe("layOutZip()", () => {
  test.each([...Object.entries(STYLES), ...SMALL])(
    "gives what readZip() reads back: %s",
    async (_, style) => {
      const files = fc.uniqueArray(fc.record({ name: fc.string({ unit: "grapheme" }), size: fc.nat(300) }), {
        selector: ({ name }) => name,
      });
      await fc.assert(
        fc.asyncProperty(files, async (all) => {
          const layout = layOutZip(all, style);
          const found = await readZip(memorySource(written(layout, all)));
          expect(found.map(({ name, size, crc, start }) => ({ name, size, crc, start }))).toEqual(
            all.map(({ name, size }, nth) => ({ name, size, crc: 1000 + nth, start: layout.starts[nth] })),
          );
          if (style.alignment) expect(layout.starts.every((start) => start % 64 === 0)).toBe(true);
        }),
      );
    },
  );

  test.each(Object.entries(STYLES))("has room for what is large, in zip64 fields: %s", (_, style) => {
    const files = [5 * 2 ** 30, 3, 2 ** 32 - 1, 2 ** 31, 2 ** 42, 0].map((size, nth) => ({
      name: `${nth}`,
      size,
    }));
    const { starts, frames, size } = layOutZip(files, style);
    const { offset, length, encode } = frames.at(-1) as (typeof frames)[number];
    const tail = encode((nth) => nth);
    const fail = zipFailure("x");
    const directory = findZipDirectory(tail, offset, fail);
    expect(directory).toMatchObject({ offset, count: files.length });
    expect(offset + length).toBe(size);
    const entries = parseZipDirectory(tail.subarray(0, directory.size), directory, fail);
    expect(entries.map(({ size }) => size)).toEqual(files.map(({ size }) => size));
    expect(entries.every(({ local }, nth) => local < (starts[nth] as number))).toBe(true);
    expect(
      starts.every((start, nth) => start + (files[nth] as ZipFile).size <= (starts[nth + 1] ?? size)),
    ).toBe(true);
  });

  test("has room for more files than 16 bits count", async () => {
    const files = Array.from({ length: 65_536 }, (_, nth) => ({ name: String(nth), size: 0 }));
    const bytes = written(layOutZip(files, NPZ_STYLE), files);
    const directory = findZipDirectory(bytes, 0, zipFailure("x"));
    expect(directory.count).toBe(65_536);
  });

  test("refuses a name that does not fit", () => {
    expect(() => layOutZip([{ name: "x".repeat(65_536), size: 0 }], NPZ_STYLE)).toThrow(RangeError);
  });
});
