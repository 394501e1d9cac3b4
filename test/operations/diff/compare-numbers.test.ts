import { describe, expect, test } from "vitest";
import { NumberComparison } from "../../../src/operations/diff/compare-numbers.ts";
import type { DType } from "../../../src/tensor/dtype.ts";

function compare(dtype: DType, ...pieces: [Uint8Array, Uint8Array][]): object {
  const comparison = new NumberComparison(dtype);
  for (const [a, b] of pieces) comparison.add(a, b);
  return comparison.result();
}

/** A block of q8_0: its scale, 0.5, and levels of which all but the first few are 0. */
function block(...levels: number[]): Uint8Array {
  const bytes = new Uint8Array(34);
  bytes.set([0x00, 0x38, ...levels]);
  return bytes;
}

describe("NumberComparison", () => {
  test("compares quantized elements by their values, over several pieces", () => {
    expect(
      compare("q8_0", [block(8, 6), block(8, 6)], [block(0, 0, 10), block(2, 0, 256 - 12)]),
    ).toStrictEqual({
      elements: 64,
      changed: 2,
      largest: 11,
      relative: Math.sqrt((1 + 121) / (16 + 9 + 25)),
    });
  });

  test("finds no change where other bytes are the same values", () => {
    const halved = block(16, 12);
    halved[1] = 0x34;
    expect(compare("q8_0", [block(8, 6), halved])).toStrictEqual({
      elements: 32,
      changed: 0,
      largest: 0,
      relative: 0,
    });
  });

  test("compares 16-bit floats by their values", () => {
    const halves = (...bits: number[]): Uint8Array => new Uint8Array(Uint16Array.from(bits).buffer);
    const [a, b] = [halves(0x4000, 0x3f80, 0x7fc0), halves(0x4000, 0x4000, 0x7fc0)];
    expect(compare("float16", [a, b])).toMatchObject({ elements: 3, changed: 1, largest: 0.125 });
    expect(compare("bfloat16", [a, b])).toStrictEqual({
      elements: 3,
      changed: 1,
      largest: 1,
      relative: Math.sqrt(1 / 5),
    });
  });

  test("leaves out infinities and NaNs of a scale that is none", () => {
    const infinite = block(8, 0);
    infinite.set([0x00, 0x7c]);
    expect(compare("q8_0", [infinite, block(8, 0)])).toMatchObject({ changed: 32, largest: 0, relative: 0 });
  });

  test("counts bytes of types that it cannot decode", () => {
    const [a, b] = [new Uint8Array(74), new Uint8Array(74).fill(1, 0, 3)];
    expect(compare("iq2_xs", [a, b])).toStrictEqual({
      elements: 256,
      changed: 3,
      largest: undefined,
      relative: undefined,
    });
  });
});
