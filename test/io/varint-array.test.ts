import { BinaryWriter } from "@bufbuild/protobuf/wire";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { encodeVarints, type VarintArray, VarintDecoder } from "../../src/io/varint-array.ts";

const arrays: VarintArray[] = ([1, 2, 4, 8] as const).flatMap((width) => [
  { width, signed: false },
  { width, signed: true },
]);

function decode(array: VarintArray, ...pieces: Uint8Array[]): Uint8Array {
  const decoder = new VarintDecoder(array, "m.onnx", 1000);
  const parts = pieces.map((piece) => decoder.decode(piece));
  decoder.end();
  return Buffer.concat(parts);
}

const int32: VarintArray = { width: 4, signed: true };
const int64: VarintArray = { width: 8, signed: true };
const uint64: VarintArray = { width: 8, signed: false };

describe("encodeVarints()", () => {
  test("spells numbers as protobuf does", () => {
    const numbers = [0, 1, 127, 128, 300, -1, -128, 2 ** 31 - 1, -(2 ** 31)];
    const writer = new BinaryWriter();
    for (const each of numbers) writer.int32(each);
    const bytes = new Uint8Array(Int32Array.from(numbers).buffer);
    expect(encodeVarints(int32, bytes)).toEqual(new Uint8Array(writer.finish()));
  });

  test("spells 64-bit numbers as protobuf does", () => {
    const numbers = [0n, 1n, -1n, 2n ** 63n - 1n, -(2n ** 63n), 2n ** 35n];
    const writer = new BinaryWriter();
    for (const each of numbers) writer.int64(each);
    expect(encodeVarints(int64, new Uint8Array(BigInt64Array.from(numbers).buffer))).toEqual(
      new Uint8Array(writer.finish()),
    );
    const unsigned = new BinaryWriter().uint64(2n ** 64n - 1n).uint64(2n ** 63n);
    const bytes = new Uint8Array(BigUint64Array.of(2n ** 64n - 1n, 2n ** 63n).buffer);
    expect(encodeVarints(uint64, bytes)).toEqual(new Uint8Array(unsigned.finish()));
  });

  test("takes bytes at any alignment", () => {
    const bytes = new Uint8Array([9, 1, 0, 0, 0, 2, 0, 0, 0]).subarray(1);
    expect([...encodeVarints(int32, bytes)]).toEqual([1, 2]);
  });
});

describe("VarintDecoder", () => {
  test.each(arrays)("gives back what encodeVarints spelled: $width bytes, signed $signed", (array) => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 20 }), fc.array(fc.nat(200), { maxLength: 5 }), (seed, cuts) => {
        const bytes = new Uint8Array(seed.length * array.width);
        // Whole elements of every size: a seed of 0 stays small, others fill up.
        seed.forEach((each, index) =>
          bytes.fill(each, index * array.width, index * array.width + (each % array.width) + 1),
        );
        const spelled = encodeVarints(array, bytes);
        const at = [
          0,
          ...cuts.map((cut) => Math.min(cut, spelled.length)).sort((a, b) => a - b),
          spelled.length,
        ];
        const pieces = at.slice(1).map((end, index) => spelled.subarray(at[index], end));
        expect(decode(array, ...pieces)).toEqual(Buffer.from(bytes));
      }),
    );
  });

  test("decodes only what encodeVarints spells alike", () => {
    fc.assert(
      fc.property(fc.constantFrom(...arrays), fc.uint8Array({ maxLength: 24 }), (array, spelled) => {
        let bytes: Uint8Array;
        try {
          bytes = decode(array, spelled);
        } catch (error) {
          expect(error).toMatchObject({ name: "FormatError", code: "malformed", path: "m.onnx" });
          return;
        }
        expect(Buffer.from(encodeVarints(array, bytes))).toEqual(Buffer.from(spelled));
      }),
      { numRuns: 2000 },
    );
  });

  test.each([
    ["longer than it needs to be", int32, [0x80, 0x00]],
    ["a zero of ten bytes", int64, [0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00]],
    ["over ten bytes", int64, [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]],
    ["over 64 bits, signed", int64, [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x03]],
    ["over 64 bits, cut to -1 of 32", int32, [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]],
    ["over 64 bits, unsigned", uint64, [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02]],
    ["too large for its width", { width: 1, signed: false } as const, [0x80, 0x02]],
    ["a negative number as 32 bits", int32, [0xff, 0xff, 0xff, 0xff, 0x0f]],
    [
      "negative where unsigned",
      { width: 2, signed: false } as const,
      [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
    ],
    ["cut off", int32, [0x01, 0x80]],
  ])("refuses a varint that is %s", (_, array, spelled) => {
    expect(() => decode(array, Uint8Array.from(spelled))).toThrow(
      expect.objectContaining({ name: "FormatError", code: "malformed" }),
    );
  });

  test("says where in the file the mistake is", () => {
    expect(() => decode(int32, Uint8Array.of(1, 2), Uint8Array.of(3, 0x80), Uint8Array.of(0))).toThrow(
      expect.objectContaining({ offset: 1004 }),
    );
  });
});
