import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { memorySource } from "../../src/io/byte-source.ts";
import { findZipDirectory, parseZipDirectory, zipErrors } from "../../src/encodings/zip/directory.ts";
import { layOutZip, type ZipFile, type ZipLayout } from "../../src/encodings/zip/layout.ts";
import { readZip } from "../../src/encodings/zip/read.ts";
import { NPZ_STYLE } from "../../src/formats/npy/archive.ts";
import { CHECKPOINT_STYLE } from "../../src/formats/pytorch/write.ts";
import { counting } from "../support/bytes.ts";
import { LONG } from "../support/speed.ts";

const STYLES = { NumPy: NPZ_STYLE, PyTorch: CHECKPOINT_STYLE };
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
    const fail = zipErrors("x");
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

  test("has over 4 GiB what PyTorch 2.15 has", () => {
    // What torch.save wrote of tensors of 12, 4,400,000,000, 10, 0 and 16 bytes.
    const sizes = { "data.pkl": 520, ".format_version": 1, ".storage_alignment": 2, byteorder: 6 };
    const tensors = { "data/0": 12, "data/1": 4_400_000_000, "data/2": 10, "data/3": 0, "data/4": 16 };
    const all = Object.entries({ ...sizes, ...tensors, version: 2, ".data/serialization_id": 40 });
    const crcs = [0x042f4987, 0x83dcefb7, 0xe971773f, 0x19e33d85, 0xdc7c4e94, 0x47aa4ee8, 0xaa198657, 0];
    const { frames } = layOutZip(
      all.map(([name, size]) => ({ name: `bigpt/${name}`, size })),
      CHECKPOINT_STYLE,
    );
    const hex = frames.map(({ encode }) => {
      return Buffer.from(
        encode((nth) => [...crcs, 0xe8681456, 0x55679ed1, 0x67df35cf][nth] as number),
      ).toString("hex");
    });
    const place = "504b0304000008080000000000000000000000000000000000000c003a0062696770742f646174612f31";
    expect(hex[10]).toBe(`${place}0100100000ac4206010000000000000000000000464222005a${"5a".repeat(33)}`);
    expect(hex[11]).toBe("504b0708e84eaa4700ac42060100000000ac420601000000");
    expect(hex.at(-1)).toBe(TORCH_TAIL);
  });

  test("has room for more files than 16 bits count", LONG, async () => {
    const files = Array.from({ length: 65_536 }, (_, nth) => ({ name: String(nth), size: 0 }));
    const bytes = written(layOutZip(files, NPZ_STYLE), files);
    const directory = findZipDirectory(bytes, 0, zipErrors("x"));
    expect(directory.count).toBe(65_536);
  });

  test("refuses a name that does not fit", () => {
    expect(() => layOutZip([{ name: "x".repeat(65_536), size: 0 }], NPZ_STYLE)).toThrow(RangeError);
  });
});

/** The directory of that archive, and its end. */
const TORCH_TAIL = [
  "504b010200000000080800000000000087492f0408020000080200000e00000000000000000000000000000000006269",
  "6770742f646174612e706b6c504b0102000000000808000000000000b7efdc8301000000010000001500000000000000",
  "0000000000005802000062696770742f2e666f726d61745f76657273696f6e504b01020000000008080000000000003f",
  "7771e902000000020000001800000000000000000000000000d102000062696770742f2e73746f726167655f616c6967",
  "6e6d656e74504b0102000000000808000000000000853de31906000000060000000f0000000000000000000000000052",
  "03000062696770742f627974656f72646572504b0102000000000808000000000000944e7cdc0c0000000c0000000c00",
  "000000000000000000000000d603000062696770742f646174612f30504b0102000000000808000000000000e84eaa47",
  "ffffffffffffffff0c001400000000000000000000005c04000062696770742f646174612f310100100000ac42060100",
  "000000ac420601000000504b0102000000000808000000000000578619aa0a0000000a0000000c000c00000000000000",
  "00000000ffffffff62696770742f646174612f3201000800d8b0420601000000504b0102000000000008000000000000",
  "0000000000000000000000000c000c0000000000000000000000ffffffff62696770742f646174612f330100080062b1",
  "420601000000504b0102000000000808000000000000561468e810000000100000000c000c0000000000000000000000",
  "ffffffff62696770742f646174612f3401000800c0b1420601000000504b0102000000000808000000000000d19e6755",
  "02000000020000000d000c0000000000000000000000ffffffff62696770742f76657273696f6e0100080028b2420601",
  "000000504b0102000000000808000000000000cf35df6728000000280000001c000c0000000000000000000000ffffff",
  "ff62696770742f2e646174612f73657269616c697a6174696f6e5f6964010008009ab2420601000000504b06062c0000",
  "00000000001e032d0000000000000000000b000000000000000b00000000000000f90200000000000040b34206010000",
  "00504b06070000000039b642060100000001000000504b0506000000000b000b00f9020000ffffffff0000",
].join("");
