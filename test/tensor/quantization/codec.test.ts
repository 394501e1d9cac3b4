import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { BLOCK_ELEMENTS, DTYPE_BITS, type DType } from "../../../src/tensor/dtype.ts";
import type { Codec } from "../../../src/tensor/quantization/codec.ts";
import { codecOf } from "../../../src/tensor/quantization/codec-of.ts";
import { formatError } from "../../support/format-error.ts";
import { SAMPLED, some } from "../../support/speed.ts";

/** What the package that llama.cpp comes with made of values.f32 and of any bytes; see make.py there. */
const FOLDER = new URL("../../../fixtures/quantization/", import.meta.url);
const file = (name: string): Uint8Array => new Uint8Array(readFileSync(new URL(name, FOLDER)));
const EXPECTED = Object.fromEntries(
  new TextDecoder()
    .decode(file("expected.jsonl"))
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line)),
) as Record<DType, { encoded?: string; decoded?: string; nans?: number }>;
const VALUES = new Float32Array(file("values.f32").buffer);
const DECODED = Object.keys(EXPECTED).filter((dtype) => EXPECTED[dtype as DType].decoded) as DType[];

/** With A the largest magnitude of a block: A / divisor + least, as the docs have it. */
const BOUNDS = [
  { dtype: "float16", divisor: 2048, least: 2 ** -25 },
  { dtype: "bfloat16", divisor: 256, least: 2 ** -134 },
  { dtype: "q4_0", divisor: 7.9, least: 2 ** -22 },
  { dtype: "q5_0", divisor: 15.8, least: 2 ** -21 },
  { dtype: "q4_1", divisor: 14.5, least: 2 ** -21 },
  { dtype: "q5_1", divisor: 29, least: 2 ** -20 },
  { dtype: "q8_0", divisor: 225, least: 2 ** -18 },
  { dtype: "q4_k", divisor: 9.7, least: 2 ** -24 },
  { dtype: "q5_k", divisor: 20, least: 2 ** -24 },
  { dtype: "q6_k", divisor: 41, least: 2 ** -24 },
] as const;
const QUANTIZED = BOUNDS.map(({ dtype }) => dtype).filter((dtype) => dtype.startsWith("q"));
const K_QUANTS = ["q4_k", "q5_k", "q6_k"] as const;

function codec(dtype: DType): Required<Codec> {
  const found = codecOf(dtype);
  if (!found) throw new Error(`no codec of ${dtype}`);
  return found as Required<Codec>;
}

/** From memory at an odd offset, as a range of a file may be. */
function decode(dtype: DType, bytes: Uint8Array): Float32Array {
  const { blockBytes, blockElements } = codec(dtype);
  const shifted = new Uint8Array(bytes.length + 1).subarray(1);
  shifted.set(bytes);
  const out = new Float32Array((bytes.length / blockBytes) * blockElements);
  codec(dtype).decode(shifted, out);
  return out;
}

function encode(dtype: DType, values: Float32Array): Uint8Array {
  const { blockBytes, blockElements } = codec(dtype);
  const around = new Uint8Array((values.length / blockElements) * blockBytes + 2).fill(0xa5);
  codec(dtype).encode(values, around.subarray(1, -1));
  expect([around[0], around.at(-1)]).toEqual([0xa5, 0xa5]);
  return around.slice(1, -1);
}

const sha256 = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");

describe("codecOf()", () => {
  test.each(DECODED)("decodes any blocks of %s to the very bits that llama.cpp's package gives", (dtype) => {
    const values = decode(dtype, file(`${dtype}.blocks`)).map((value) =>
      Number.isNaN(value) ? Number.NaN : value,
    );
    expect(values.filter(Number.isNaN).length).toBe(EXPECTED[dtype].nans);
    expect(sha256(new Uint8Array(values.buffer))).toBe(EXPECTED[dtype].decoded);
  });

  test.each(["q4_0", "q4_1", "q5_0", "q5_1", "q8_0"] as const)(
    "encodes as %s to the very bytes that llama.cpp's package gives",
    (dtype) => {
      expect(Buffer.from(encode(dtype, VALUES)).equals(file(`${dtype}.encoded`))).toBe(true);
    },
  );

  test.each(["float16", "bfloat16"] as const)("rounds to %s as NumPy and the package do", (dtype) => {
    expect(sha256(encode(dtype, VALUES))).toBe(EXPECTED[dtype].encoded);
  });

  test.each(K_QUANTS)("encodes as %s no worse than llama.cpp by 2 %", (dtype) => {
    expect(errorOf(encode(dtype, VALUES))).toBeLessThan(1.02 * errorOf(file(`${dtype}.llama`)));

    /** Square error of each block over the block's own squares, on average, of those that are not all zero. */
    function errorOf(bytes: Uint8Array): number {
      const decoded = decode(dtype, bytes);
      let [sum, blocks] = [0, 0];
      for (let from = 0; from < VALUES.length; from += 256) {
        const block = VALUES.subarray(from, from + 256);
        // Below, llama.cpp's scales are 0 as float16.
        if (Math.max(...block.map(Math.abs)) < 1e-4) continue;
        const squares = block.reduce((total, value) => total + value * value, 0);
        const apart = block.reduce(
          (total, value, index) => total + (value - (decoded[from + index] as number)) ** 2,
          0,
        );
        sum += apart / squares;
        blocks++;
      }
      expect(blocks).toBeGreaterThan(30);
      return sum / blocks;
    }
  });

  test.each(["float32", "float16", "bfloat16", ...DECODED] as const)(
    "has %s in blocks of the model's size",
    (dtype) => {
      const { blockElements, blockBytes } = codec(dtype);
      expect(blockElements).toBe(BLOCK_ELEMENTS[dtype] ?? 1);
      expect(blockBytes * 8).toBe(blockElements * DTYPE_BITS[dtype]);
    },
  );

  test("gives float32 back as it is, and float64 as the nearest float32", () => {
    const odd = Float32Array.of(0, -0, 1e-45, Number.NaN, Number.NEGATIVE_INFINITY, 0.1);
    expect(decode("float32", encode("float32", odd))).toEqual(odd);
    const doubles = new Uint8Array(Float64Array.of(0.1, -0, 1e300, 5e-324).buffer);
    expect(decode("float64", doubles)).toEqual(Float32Array.of(0.1, -0, Number.POSITIVE_INFINITY, 0));
    expect(codecOf("float64")?.encode).toBeUndefined();
  });

  test("keeps infinities and NaNs of plain floats", () => {
    const odd = Float32Array.of(Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, -0);
    for (const dtype of ["float16", "bfloat16"] as const)
      expect(decode(dtype, encode(dtype, odd))).toEqual(odd);
    const words = Uint32Array.of(0x7f800001, 0xff800001);
    for (const dtype of ["float16", "bfloat16"] as const)
      expect([...decode(dtype, encode(dtype, new Float32Array(words.buffer)))].every(Number.isNaN)).toBe(
        true,
      );
  });

  test("has none for what is no real number, or is not decoded", () => {
    for (const dtype of ["bool", "complex64", "int8", "int64", "iq2_xs", "q8_1", "tq1_0"] as const)
      expect(codecOf(dtype)).toBeUndefined();
    for (const dtype of ["q2_k", "q3_k", "iq4_nl", "iq4_xs", "mxfp4"] as const)
      expect([dtype, codecOf(dtype)?.encode, codecOf(dtype)?.bound]).toEqual([dtype, undefined, undefined]);
  });

  test("refuses lengths that do not fit", () => {
    const { decode, encode } = codec("q8_0");
    expect(() => decode(new Uint8Array(33), new Float32Array(32))).toThrow(RangeError);
    expect(() => decode(new Uint8Array(34), new Float32Array(31))).toThrow(RangeError);
    expect(() => encode(new Float32Array(32), new Uint8Array(68))).toThrow(RangeError);
    expect(() => encode(new Float32Array(33), new Uint8Array(34))).toThrow(RangeError);
    expect(() => codec("float16").decode(new Uint8Array(3), new Float32Array(1))).toThrow(RangeError);
  });
});

describe("Codec.encode()", () => {
  test.each(QUANTIZED)("refuses NaN and infinity as %s", (dtype) => {
    for (const wrong of [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]) {
      const values = new Float32Array(512);
      values[300] = wrong;
      const error = formatError(() => encode(dtype, values));
      expect(error.code).toBe("out-of-range");
      expect(error.message).toContain(`Cannot encode ${wrong} at element 300 as ${dtype}`);
    }
  });

  test.each(QUANTIZED)("refuses as %s what no float16 scale reaches", (dtype) => {
    for (const huge of [3.4e38, -1e9]) {
      const values = new Float32Array(512);
      values[300] = huge;
      values[301] = -huge / 2;
      const error = formatError(() => encode(dtype, values));
      expect(error.code).toBe("out-of-range");
      expect(error.message).toMatch(new RegExp(`the block at element (256|288) as ${dtype}: `));
    }
  });

  test("refuses a finite value that would become infinity", () => {
    expect(decode("float16", encode("float16", Float32Array.of(65519, -65504)))).toEqual(
      Float32Array.of(65504, -65504),
    );
    const error = formatError(() => encode("float16", Float32Array.of(1, -65520)));
    expect(error.code).toBe("out-of-range");
    expect(error.message).toContain("Cannot encode -65520 at element 1 as float16");
    expect(formatError(() => encode("bfloat16", Float32Array.of(3.4e38))).code).toBe("out-of-range");
    expect(decode("bfloat16", encode("bfloat16", Float32Array.of(3.39e38)))[0]).toBeLessThan(3.4e38);
  });
});

/** Any float32 of a magnitude that every type takes, one in a few of them special. */
const element = fc.oneof(
  { weight: 6, arbitrary: fc.float({ noNaN: true, min: -1, max: 1 }) },
  { weight: 1, arbitrary: fc.float({ noNaN: true, min: -50000, max: 50000 }) },
  { weight: 1, arbitrary: fc.constantFrom(0, -0, 1e-40, -1e-45, 2 ** -24, 3e-8, -6e-5, 1, -1) },
);
/** Blocks of 256 of one character, of any scale. */
const block = fc.oneof(
  fc.array(element, { minLength: 256, maxLength: 256 }).map((values) => Float32Array.from(values)),
  fc
    .tuple(
      fc.float({ noNaN: true, min: Math.fround(-30), max: Math.fround(14) }),
      fc.constantFrom("wave", "negative", "positive", "constant", "outlier", "opposed", "sparse", "ramps"),
      fc.integer({ min: 0, max: 255 }),
      fc.float({ noNaN: true, min: Math.fround(0.001), max: 1 }),
    )
    .map(([power, kind, place, share]) => {
      const size = 2 ** power;
      return Float32Array.from({ length: 256 }, (_, index) => {
        const wave = size * Math.sin(index * (place + 1) * 0.37);
        if (kind === "negative") return -Math.abs(wave) - size * share;
        if (kind === "positive") return Math.abs(wave) + size * share;
        if (kind === "constant") return place % 2 ? size : -size;
        if (kind === "outlier") return index === place ? -size : wave * share * 1e-3;
        if (kind === "opposed") return index === place ? size : index === 255 - place ? -size * share : 0;
        if (kind === "sparse") return index % 17 === place % 17 ? wave : 0;
        if (kind === "ramps") return (((index % 32) - 15.5) * size * (1 + (index >> 5)) * share) / 100;
        return wave;
      });
    }),
);

describe("Codec.bound()", () => {
  test.each(BOUNDS)(
    "holds for $dtype, and is at most A / $divisor and $least",
    SAMPLED,
    ({ dtype, divisor, least }) => {
      const { blockElements, bound } = codec(dtype);
      const blocks: Float32Array[] = [];
      for (let from = 0; from < VALUES.length; from += 256) blocks.push(VALUES.slice(from, from + 256));
      fc.assert(fc.property(block, check), {
        numRuns: some(1500),
        examples: blocks.map((values) => [values]),
      });

      function check(values: Float32Array): void {
        const decoded = decode(dtype, encode(dtype, values));
        for (let from = 0; from < 256; from += blockElements) {
          const part = values.subarray(from, from + blockElements);
          const limit = bound(part);
          const largest = Math.max(...part.map(Math.abs));
          const worst = Math.max(
            ...part.map((value, index) => Math.abs(value - (decoded[from + index] as number))),
          );
          if (worst > limit) expect.fail(`off by ${worst}, bound ${limit}, largest ${largest}`);
          if (limit > largest / divisor + least) expect(limit).toBeLessThanOrEqual(largest / divisor + least);
        }
      }
    },
  );

  test("is nothing for float32", () => {
    expect(codec("float32").bound(Float32Array.of(1e30))).toBe(0);
  });

  test.each(QUANTIZED)("is met by zeros exactly: %s", (dtype) => {
    const zeros = decode(dtype, encode(dtype, new Float32Array(256)));
    expect(zeros.every((value) => value === 0)).toBe(true);
  });
});
