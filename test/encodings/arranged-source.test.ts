import fc from "fast-check";
import { deflateSync } from "fflate";
import { describe, expect, test } from "vitest";
import { arrangedSource, columnMajor, rowMajor } from "../../src/encodings/arranged-source.ts";
import type { ElementOrder } from "../../src/encodings/element-order.ts";
import { crc32 } from "../../src/encodings/zip/crc32.ts";
import { inflatedSource } from "../../src/encodings/zip/inflated-source.ts";
import { fileErrors } from "../../src/errors.ts";
import { memorySource } from "../../src/io/byte-source.ts";
import { counting } from "../support/bytes.ts";
import { countingSource } from "../support/counting-source.ts";

/** What an order means, element by element. */
function arranged(bytes: Uint8Array, { width, shape, strides, offset, swap }: ElementOrder): Uint8Array {
  const out: number[] = [];
  const visit = (axis: number, at: number): void => {
    if (axis < shape.length) {
      for (let nth = 0; nth < (shape[axis] as number); nth++)
        visit(axis + 1, at + nth * (strides[axis] as number));
      return;
    }
    const element = [...bytes.subarray(at * width, (at + 1) * width)];
    for (let start = 0; start < width; start += swap)
      out.push(...element.slice(start, start + swap).reverse());
  };
  visit(0, offset);
  return Uint8Array.from(out);
}

const ORDERS = fc
  .record({
    width: fc.constantFrom(1, 2, 4, 8, 16),
    axes: fc.array(fc.tuple(fc.nat(5), fc.nat(7)), { maxLength: 4 }),
    offset: fc.nat(3),
    swaps: fc.boolean(),
  })
  .map(({ width, axes, offset, swaps }): ElementOrder => {
    const swap = swaps ? (width === 16 ? 8 : width) : 1;
    const [shape, strides] = [axes.map(([size]) => size), axes.map(([, stride]) => stride)];
    return { width, shape, strides, offset, swap };
  });

describe("arrangedSource()", () => {
  test("gives any elements in their order, read whole and in parts", async () => {
    await fc.assert(
      fc.asyncProperty(ORDERS, fc.nat(), fc.nat(), async (order, first, second) => {
        const bytes = counting(16 * 200);
        const expected = order.shape.includes(0) ? new Uint8Array(0) : arranged(bytes, order);
        const source = arrangedSource(memorySource(bytes), order);
        expect(source.size).toBe(expected.byteLength);
        expect(await source.read(0, source.size)).toEqual(expected);
        const [start = 0, end = 0] = [first % (source.size + 1), second % (source.size + 1)].sort(
          (a, b) => a - b,
        );
        expect(await source.read(start, end - start)).toEqual(expected.subarray(start, end));
      }),
    );
  });

  test("takes large arrays in few reads, and never all of one", async () => {
    // 40 MB in rows of 7,919, column-major: two blocks, and neither number of rows divides the other.
    const shape = [7919, 1263];
    const words = Uint32Array.from({ length: 7919 * 1263 }, (_, nth) => nth);
    const parent = countingSource(memorySource(new Uint8Array(words.buffer)));
    const source = arrangedSource(parent, {
      width: 4,
      shape,
      strides: columnMajor(shape),
      offset: 0,
      swap: 1,
    });
    for (let offset = 0; offset < source.size; offset += 10_000_000) {
      const bytes = (await source.read(offset, Math.min(10_000_000, source.size - offset))).slice();
      const found = new Uint32Array(bytes.buffer);
      for (let nth = 0; nth < found.length; nth += 997) {
        const element = offset / 4 + nth;
        expect(found[nth]).toBe((element % 1263) * 7919 + Math.floor(element / 1263));
      }
    }
    expect(Math.max(...parent.reads.map(({ length }) => length))).toBeLessThanOrEqual(4 * 1024 * 1024);
    expect(parent.reads.length).toBeLessThan(4000);
    expect(parent.bytes).toBeLessThan(3 * words.byteLength);
  });

  test("changes the signs that it is asked to", async () => {
    const order = { width: 8, shape: [2], strides: [1], offset: 0, swap: 1, flip: [7] };
    const bytes = new Uint8Array(Float32Array.of(1, 2, 3, -4).buffer);
    const found = await arrangedSource(memorySource(bytes), order).read(0, 16);
    expect([...new Float32Array(found.slice().buffer)]).toEqual([1, -2, 3, 4]);
  });

  test("knows both orders", () => {
    expect([rowMajor([2, 3, 4]), columnMajor([2, 3, 4])]).toEqual([
      [12, 4, 1],
      [1, 2, 6],
    ]);
  });
});

describe("inflatedSource()", () => {
  const bytes = Uint8Array.from({ length: 300_000 }, (_, nth) => (nth * nth) % 251);
  const member = { name: "w.npy", size: bytes.byteLength, crc: crc32(bytes) };
  const fail = fileErrors({ name: "x.npz" });

  test("unpacks in order, starts again, and checks the end", async () => {
    const source = inflatedSource(memorySource(deflateSync(bytes)), member, fail);
    for (const [start, length] of [
      [0, 10],
      [200_000, 100_000],
      [5, 100],
      [0, 300_000],
      [299_999, 1],
    ] as const) {
      expect(await source.read(start, length)).toEqual(bytes.subarray(start, start + length));
    }
  });

  test("unpacks long runs in bounded pieces", async () => {
    const zeros = new Uint8Array(50_000_000);
    const source = inflatedSource(
      memorySource(deflateSync(zeros)),
      { name: "z", size: zeros.byteLength, crc: crc32(zeros) },
      fail,
    );
    expect((await source.read(49_000_000, 1_000_000)).every((byte) => byte === 0)).toBe(true);
  });

  test.each([
    ["another checksum", { crc: member.crc ^ 1 }, "corrupted"],
    ["fewer bytes", { size: member.size - 1 }, "malformed"],
    ["more bytes", { size: member.size + 1 }, "malformed"],
  ])("refuses %s", async (_, change, code) => {
    const source = inflatedSource(memorySource(deflateSync(bytes)), { ...member, ...change }, fail);
    await expect(source.read(0, source.size)).rejects.toMatchObject({ code });
  });

  test("refuses what is cut off, or is no deflated data", async () => {
    const packed = deflateSync(bytes);
    for (const broken of [packed.subarray(0, 1000), new Uint8Array(1000).fill(0xff)]) {
      const source = inflatedSource(memorySource(broken), member, fail);
      await expect(source.read(0, source.size)).rejects.toMatchObject({ code: "malformed" });
    }
  });
});
