import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type ByteSource, memorySource } from "../../src/io/byte-source.ts";
import { decodedSource } from "../../src/io/decoded-source.ts";
import { encodeHex } from "../../src/io/hex.ts";
import { encodeVarints, type VarintArray } from "../../src/io/varint-array.ts";
import { counting } from "../support/bytes.ts";
import { countingSource } from "../support/counting-source.ts";
import { thrown } from "../support/thrown.ts";

const wrongSize = (found: number | "more"): Error => new RangeError(`it has ${found}`);
const WIDE: VarintArray = { width: 8, signed: false };

function decoded(source: ByteSource, size: number, varint?: VarintArray): ByteSource {
  return decodedSource({ source, varint, size, offset: 100, wrongSize });
}

describe("decodedSource()", () => {
  test.each(["varint", "hex"])("gives any range of %s bytes, in any order", async (kind) => {
    const bytes = counting(800, 3);
    const source = memorySource(kind === "hex" ? encodeHex(bytes, "lower") : encodeVarints(WIDE, bytes));
    const ranges = fc.array(fc.tuple(fc.nat(800), fc.nat(800)), { maxLength: 8 });
    await fc.assert(
      fc.asyncProperty(ranges, fc.boolean(), async (all, atOnce) => {
        const reader = decoded(source, 800, kind === "hex" ? undefined : WIDE);
        const check = async ([a, b]: [number, number]): Promise<void> => {
          const [from, to] = [Math.min(a, b), Math.max(a, b)];
          expect(await reader.read(from, to - from)).toEqual(bytes.subarray(from, to));
        };
        if (atOnce) await Promise.all(all.map(check));
        else for (const range of all) await check(range);
      }),
      { numRuns: 100 },
    );
  });

  test("reads hexadecimal digits at random, and varints in order once", async () => {
    const bytes = counting(64);
    const hex = countingSource(memorySource(encodeHex(bytes)));
    await decoded(hex, 64).read(10, 5);
    expect(hex.reads).toEqual([{ offset: 20, length: 10 }]);
    const encoded = encodeVarints(WIDE, bytes);
    const varints = countingSource(memorySource(encoded));
    const reader = decoded(varints, 64, WIDE);
    for (let at = 0; at < 64; at += 16) await reader.read(at, 16);
    expect(varints.bytes).toBe(encoded.byteLength);
  });

  test("refuses another number of bytes, and what cannot be decoded", async () => {
    const numbers = memorySource(encodeVarints(WIDE, counting(64)));
    expect(() => decoded(memorySource(encodeHex(counting(4))), 5)).toThrow("it has 4");
    expect(() => decoded(numbers, 0, WIDE)).toThrow("it has more");
    await expect(decoded(numbers, 72, WIDE).read(0, 72)).rejects.toThrow("it has 64");
    await expect(decoded(numbers, 56, WIDE).read(0, 56)).rejects.toThrow("it has more");
    const text = memorySource(new TextEncoder().encode("00aBxx"), "m.mlir");
    const reader = decoded(text, 3);
    expect(await reader.read(0, 2)).toEqual(Uint8Array.of(0, 0xab));
    expect(await thrown(reader.read(1, 2))).toMatchObject({ code: "malformed", path: "m.mlir", offset: 104 });
    const cut = decoded(memorySource(Uint8Array.of(1, 0x80)), 8, WIDE);
    for (let nth = 0; nth < 2; nth++) {
      expect(await thrown(cut.read(0, 8))).toMatchObject({
        code: "malformed",
        message: expect.stringContaining("cut off"),
      });
    }
  });
});
