import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  bfloat16Bits,
  bfloat16ToFloat32,
  bfloat16Value,
  float16Bits,
  float16Value,
  float16ToFloat32,
  narrowBfloat16,
  narrowFloat16,
} from "../../src/tensor/float16.ts";
import { SAMPLED, some } from "../support/speed.ts";

interface Golden {
  sha256: string;
  rounding: [number, number][];
}

const GOLDEN = Object.fromEntries(
  readFileSync(new URL("../../fixtures/numpy/halves.jsonl", import.meta.url), "utf8")
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line)),
) as { float16: Golden; bfloat16: Golden };
const ALL = new Uint8Array(Uint16Array.from({ length: 65_536 }, (_, bits) => bits).buffer);
const KINDS = [
  {
    name: "float16",
    golden: GOLDEN.float16,
    value: float16Value,
    bits: float16Bits,
    widen: float16ToFloat32,
    narrow: narrowFloat16,
  },
  {
    name: "bfloat16",
    golden: GOLDEN.bfloat16,
    value: bfloat16Value,
    bits: bfloat16Bits,
    widen: bfloat16ToFloat32,
    narrow: narrowBfloat16,
  },
];

describe.each(KINDS)("$name", ({ golden, value, bits, widen, narrow }) => {
  test("widens all 65,536 patterns as NumPy does", () => {
    const wide = widen(ALL).map((number) => (Number.isNaN(number) ? Number.NaN : number));
    const bytes = new Uint8Array(wide.buffer);
    expect(createHash("sha256").update(bytes).digest("hex")).toBe(golden.sha256);
  });

  test("gives each pattern's value one by one as in bulk", () => {
    const wide = widen(ALL);
    for (let pattern = 0; pattern < 65_536; pattern++) {
      if (!Object.is(value(pattern), wide[pattern]))
        expect([pattern, value(pattern)]).toEqual([pattern, wide[pattern]]);
    }
  });

  test("keeps the sign and payload of a NaN in bulk", () => {
    const wide = widen(Uint8Array.of(0xff, 0xff));
    expect(new Uint32Array(wide.buffer)[0]).toBe(golden === GOLDEN.float16 ? 0xffffe000 : 0xffff0000);
  });

  test("gives back the pattern of every value", () => {
    for (let pattern = 0; pattern < 65_536; pattern++) {
      const number = value(pattern);
      if (!Number.isNaN(number) && bits(number) !== pattern) expect(bits(number)).toBe(pattern);
    }
    expect(value(bits(Number.NaN))).toBeNaN();
  });

  test("rounds as NumPy does", () => {
    expect(golden.rounding.length).toBeGreaterThan(40);
    for (const [number, pattern] of golden.rounding)
      expect([number, bits(number)]).toEqual([number, pattern]);
  });

  test("rounds to the nearest of all patterns, ties to even", SAMPLED, () => {
    const step = (pattern: number): number => value(pattern);
    fc.assert(
      fc.property(fc.integer({ min: 0, max: value(0x7bff) === 65504 ? 0x7bfe : 0x7f7e }), (low) => {
        const [below, above] = [step(low), step(low + 1)];
        const middle = (below + above) / 2;
        expect(bits(middle)).toBe(low % 2 === 0 ? low : low + 1);
        expect(bits(below + (above - below) * 0.4999)).toBe(low);
        expect(bits(below + (above - below) * 0.5001)).toBe(low + 1);
        expect(bits(-middle)).toBe(bits(middle) | 0x8000);
      }),
      { numRuns: some(2000) },
    );
  });

  test("rounds in bulk as one by one", SAMPLED, () => {
    const narrowed = (values: Float32Array): Uint16Array => {
      const out = new Uint8Array(2 * values.length + 1);
      narrow(values, out.subarray(1));
      return new Uint16Array(out.slice(1).buffer);
    };
    const middles = Float32Array.from({ length: 0x7f00 }, (_, low) => (value(low) + value(low + 1)) / 2);
    expect([...narrowed(middles)]).toEqual([...middles].map(bits));
    const numbers = fc.float32Array({ minLength: 1, noNaN: true });
    fc.assert(
      fc.property(numbers, (values) => {
        expect([...narrowed(values)]).toEqual([...values].map(bits));
      }),
      { numRuns: some(500) },
    );
    const wide = widen(ALL);
    const back = narrowed(wide);
    const isRight = (pattern: number): boolean =>
      Number.isNaN(value(pattern)) ? Number.isNaN(value(back[pattern] as number)) : back[pattern] === pattern;
    expect(Array.from({ length: 65_536 }, (_, pattern) => pattern).filter((each) => !isRight(each))).toEqual(
      [],
    );
  });

  test("reads at any alignment", () => {
    const shifted = Uint8Array.of(9, ...ALL.subarray(0x7800, 0x7810)).subarray(1);
    expect(widen(shifted)).toEqual(widen(ALL.slice(0x7800, 0x7810)));
  });

  test("refuses half an element", () => {
    expect(() => widen(new Uint8Array(3))).toThrow(RangeError);
  });
});

describe("float16Bits()", () => {
  test("does not round twice, as going by float32 would", () => {
    // Just above a tie: as float32 it is the tie, which goes to even, downwards.
    const value = 1 + 2 ** -11 + 2 ** -40;
    expect(Math.fround(value)).toBe(1 + 2 ** -11);
    expect(float16Bits(value)).toBe(0x3c01);
  });
});
