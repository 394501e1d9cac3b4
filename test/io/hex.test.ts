import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { decodeHex, encodeHex, HexDecoder, hexCase } from "../../src/io/hex.ts";
import { thrown } from "../support/thrown.ts";

const bytesOf = (text: string): Uint8Array => new TextEncoder().encode(text);
const textOf = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);

describe("hexadecimal digits", () => {
  test("are those of Node in either case, however they are cut", () => {
    const cuts = fc.array(fc.nat(40), { maxLength: 8 });
    const letters = fc.constantFrom("upper" as const, "lower" as const);
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 64 }), cuts, letters, (bytes, at, each) => {
        const digits = encodeHex(bytes, each);
        const expected = Buffer.from(bytes).toString("hex");
        expect(textOf(digits)).toBe(each === "upper" ? expected.toUpperCase() : expected);
        expect(decodeHex(digits)).toEqual(bytes);
        if (/[a-f]/.test(expected)) expect(hexCase(digits)).toBe(each);
        const decoder = new HexDecoder(each, "x", 7);
        const ends = [...at.map((end) => Math.min(end, digits.length)).sort((a, b) => a - b), digits.length];
        const decoded = ends.map((end, nth) => decoder.decode(digits.subarray(ends[nth - 1] ?? 0, end)));
        decoder.end();
        expect(Buffer.concat(decoded)).toEqual(Buffer.from(bytes));
      }),
    );
  });

  test.each([
    ["no digit", ["00", "0g"], 13],
    ["another case", ["aa", "a", "A"], 13],
    ["half a byte", ["aa", "a"], 13],
  ])("are refused with %s, at its place", async (_, pieces, offset) => {
    const decoder = new HexDecoder("lower", "x.mlir", 10);
    const decode = async (): Promise<void> => {
      for (const piece of pieces) decoder.decode(bytesOf(piece));
      decoder.end();
    };
    expect(await thrown(decode())).toMatchObject({ code: "malformed", path: "x.mlir", offset });
  });
});
