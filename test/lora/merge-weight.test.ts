import { describe, expect, test } from "vitest";
import { memorySource } from "../../src/io/byte-source.ts";
import type { LoraTerm } from "../../src/lora/factors.ts";
import { mergeCodec, type MergeReport, mergeWeight } from "../../src/lora/merge-weight.ts";
import type { Weight } from "../../src/model/config.ts";
import type { DType } from "../../src/tensor/dtype.ts";
import { bfloat16Bits, float16Bits, float16Value } from "../../src/tensor/float16.ts";
import { codecOf } from "../../src/tensor/quantization/codec-of.ts";

const weight = (dtype: DType, shape: readonly number[]): Weight => ({
  name: "w",
  dtype,
  shape,
  digest: `sha256:${"0".repeat(64)}`,
});

function term(rows: number, columns: number, rank: number, scale = 1, seed = 1): LoraTerm {
  const numbers = (count: number, start: number): Float32Array =>
    Float32Array.from({ length: count }, (_, at) => Math.sin((at + 1) * start * 12.9898) * 0.1);
  return {
    left: { rows, columns: rank, values: numbers(rows * rank, seed) },
    right: { rows: rank, columns, values: numbers(rank * columns, seed + 0.5) },
    scale,
  };
}

async function merge(
  of: Weight,
  bytes: Uint8Array,
  terms: readonly LoraTerm[],
): Promise<{ readonly out: Buffer; readonly report: MergeReport; readonly pieces: number }> {
  const report = { touchedBlocks: 0, errorBound: 0 };
  const parts: Uint8Array[] = [];
  const before: Uint8Array[] = [];
  for await (const piece of mergeWeight(of, memorySource(bytes), terms, report)) {
    before.push(piece.before.slice());
    parts.push(piece.after.slice());
  }
  expect(Buffer.concat(before).equals(bytes)).toBe(true);
  return { out: Buffer.concat(parts), report, pieces: parts.length };
}

function deltaAt({ left, right }: LoraTerm, row: number, column: number): number {
  let sum = 0;
  for (let k = 0; k < left.columns; k++) {
    const a = left.values[row * left.columns + k] as number;
    sum = Math.fround(sum + a * (right.values[k * right.columns + column] as number));
  }
  return sum;
}

/** What merging means, one element at a time. */
function expected(value: number, terms: readonly LoraTerm[], row: number, column: number): number {
  return terms.reduce((sum, each) => {
    const scaled = Math.fround(Math.fround(each.scale) * deltaAt(each, row, column));
    return Math.fround(sum + scaled);
  }, value);
}

describe("mergeWeight()", () => {
  const [rows, columns] = [700, 1000];
  const base = Float32Array.from({ length: rows * columns }, (_, at) => Math.fround(Math.cos(at) * 0.05));

  test("adds several LoRAs in their order, over many pieces, and rounds float32 once", async () => {
    const terms = [term(rows, columns, 3, 0.7), term(rows, columns, 9, -1.3, 2)];
    const { out, report, pieces } = await merge(weight("float32", [rows, columns]), bytesOf(base), terms);
    expect(pieces).toBe(3);
    expect(report).toEqual({ touchedBlocks: rows * columns, errorBound: 0 });
    const merged = new Float32Array(new Uint8Array(out).buffer);
    for (let at = 0; at < merged.length; at += 997) {
      const [row, column] = [Math.floor(at / columns), at % columns];
      expect(merged[at]).toBe(expected(base[at] as number, terms, row, column));
    }
  });

  test.each([
    ["float16", float16Bits],
    ["bfloat16", bfloat16Bits],
  ] as const)("rounds to %s once", async (dtype, bits) => {
    const words = Uint16Array.from({ length: 6 * 32 }, (_, at) => bits(Math.cos(at)));
    const codec = codecOf(dtype);
    const before = new Float32Array(words.length);
    codec?.decode(bytesOf(words), before);
    const terms = [term(6, 32, 4, 0.3), term(6, 32, 1, 2, 5)];
    const { out } = await merge(weight(dtype, [6, 32]), bytesOf(words), terms);
    const merged = new Uint16Array(new Uint8Array(out).buffer);
    merged.forEach((word, at) => {
      expect(word).toBe(bits(expected(before[at] as number, terms, Math.floor(at / 32), at % 32)));
    });
  });

  test("keeps the bytes of what nothing but zeros are added to", async () => {
    // A NaN with a payload, a negative zero, a subnormal.
    const words = Uint16Array.of(0x7e55, 0x8000, 0x0001, 0x3c00);
    const zeros = { ...term(2, 2, 1), scale: 0 };
    const { out, report } = await merge(weight("float16", [2, 2]), bytesOf(words), [zeros]);
    expect(new Uint16Array(new Uint8Array(out).buffer)).toEqual(words);
    expect(report.touchedBlocks).toBe(0);
  });

  test("leaves NaN and infinity of the base what they are", async () => {
    const words = Uint16Array.of(0x7e55, 0xfc00, 0x3c00, 0x3c00);
    const { out } = await merge(weight("float16", [2, 2]), bytesOf(words), [term(2, 2, 1, 5)]);
    const merged = new Uint16Array(new Uint8Array(out).buffer);
    expect([...merged.subarray(0, 2)]).toEqual([0x7e55, 0xfc00]);
    expect(merged[2]).not.toBe(0x3c00);
  });

  test.each([
    ["float16", bytesOf(Uint16Array.of(float16Bits(65504), 0))],
    ["float32", bytesOf(Float32Array.of(3e38, 0))],
  ] as const)("refuses a %s that would become infinity, naming the tensor", async (dtype, bytes) => {
    const one = { rows: 1, columns: 1, values: Float32Array.of(1e19) };
    const two = { rows: 1, columns: 2, values: Float32Array.of(2e19, 0) };
    const merging = merge(weight(dtype, [1, 2]), bytes, [{ left: one, right: two, scale: 1 }]);
    await expect(merging).rejects.toMatchObject({ code: "out-of-range", tensor: "w" });
  });

  test("keeps within the bound that it reports for quantized weights, and keeps blocks that it does not touch", async () => {
    const codec = codecOf("q8_0");
    const values = Float32Array.from({ length: 4 * 64 }, (_, at) => Math.cos(at));
    const bytes = new Uint8Array(8 * 34);
    codec?.encode?.(values, bytes);
    const before = new Float32Array(values.length);
    codec?.decode(bytes, before);
    // Columns 32 to 63 get nothing.
    const some = term(4, 64, 3);
    const right = { ...some.right, values: some.right.values.map((value, at) => (at % 64 < 32 ? value : 0)) };
    const terms = [{ ...some, right }];
    const { out, report } = await merge(weight("q8_0", [4, 64]), bytes, terms);
    expect(report.touchedBlocks).toBe(4);
    expect(report.errorBound).toBeGreaterThan(0);
    const after = new Float32Array(values.length);
    codec?.decode(out, after);
    after.forEach((value, at) => {
      const wanted = expected(before[at] as number, terms, Math.floor(at / 64), at % 64);
      expect(Math.abs(value - wanted)).toBeLessThanOrEqual(report.errorBound);
    });
    for (let block = 1; block < 8; block += 2) {
      expect(
        out.subarray(block * 34, block * 34 + 34).equals(bytes.subarray(block * 34, block * 34 + 34)),
      ).toBe(true);
    }
  });
});

describe("mergeCodec()", () => {
  test.each([
    ["int8", [4, 4]],
    ["float64", [4, 4]],
    ["q8_k", [4, 256]],
    ["float16", [4, 4, 4]],
  ] as const)("refuses %s %j by name", (dtype, shape) => {
    expect(() => mergeCodec(weight(dtype, shape))).toThrow(
      expect.objectContaining({
        code: "unsupported",
        tensor: "w",
        hint: expect.stringContaining("--adapter"),
      }),
    );
  });

  test("takes float16 for what it is", () => {
    expect(mergeCodec(weight("float16", [1, 1])).blockBytes).toBe(2);
    expect(float16Value(0x3c00)).toBe(1);
  });
});

function bytesOf(array: Float32Array | Uint16Array): Uint8Array {
  return new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
}
