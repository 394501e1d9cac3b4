import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type DType, DTYPE_BITS } from "../../src/tensor/dtype.ts";
import { tensorFromJson, tensorToJson } from "../../src/tensor/json-tensor.ts";
import type { NumberTensor, Tensor } from "../../src/tensor/tensor.ts";
import { formatError } from "../support/format-error.ts";

const bytesOf = (value: unknown, dtype: DType): number[] => [
  ...(tensorFromJson(value, dtype, "x") as NumberTensor).bytes,
];
const le = (array: ArrayBufferView): number[] => [...new Uint8Array(array.buffer)];

describe("tensorFromJson()", () => {
  test("takes the shape from the nesting, row-major", () => {
    expect(
      tensorFromJson(
        [
          [1, 2, 3],
          [4, 5, 6],
        ],
        "uint8",
        "x",
      ),
    ).toEqual({
      dtype: "uint8",
      shape: [2, 3],
      bytes: Uint8Array.of(1, 2, 3, 4, 5, 6),
    });
    expect(tensorFromJson(7, "uint8", "x")).toMatchObject({ shape: [] });
    expect(tensorFromJson([], "float32", "x")).toMatchObject({ shape: [0] });
    expect(tensorFromJson([[], []], "float32", "x")).toMatchObject({ shape: [2, 0] });
    expect(tensorFromJson([[["a"], ["b"]]], "string", "x")).toEqual({
      dtype: "string",
      shape: [1, 2, 1],
      strings: ["a", "b"],
    });
  });

  test("writes each dtype little-endian", () => {
    expect(bytesOf([true, false], "bool")).toEqual([1, 0]);
    expect(bytesOf([-128, 127], "int8")).toEqual([128, 127]);
    expect(bytesOf([-2], "int16")).toEqual(le(Int16Array.of(-2)));
    expect(bytesOf([65535], "uint16")).toEqual(le(Uint16Array.of(65535)));
    expect(bytesOf([-(2 ** 31)], "int32")).toEqual(le(Int32Array.of(-(2 ** 31))));
    expect(bytesOf([2 ** 32 - 1], "uint32")).toEqual(le(Uint32Array.of(2 ** 32 - 1)));
    expect(bytesOf([-1, "-9223372036854775808"], "int64")).toEqual(le(BigInt64Array.of(-1n, -(2n ** 63n))));
    expect(bytesOf([1, "18446744073709551615"], "uint64")).toEqual(le(BigUint64Array.of(1n, 2n ** 64n - 1n)));
    expect(bytesOf([0.1, "NaN", "-Infinity"], "float32")).toEqual(
      le(Float32Array.of(0.1, Number.NaN, Number.NEGATIVE_INFINITY)),
    );
    expect(bytesOf([0.1, "Infinity"], "float64")).toEqual(le(Float64Array.of(0.1, Number.POSITIVE_INFINITY)));
  });

  test("rounds 16-bit floats to the nearest, ties to even", () => {
    const ties = [1 + 2 ** -11, 1 + 3 * 2 ** -11, 65519.99];
    expect(bytesOf(ties, "float16")).toEqual(le(Uint16Array.of(0x3c00, 0x3c02, 0x7bff)));
    expect(bytesOf([1 + 2 ** -8, 1 + 3 * 2 ** -8], "bfloat16")).toEqual(le(Uint16Array.of(0x3f80, 0x3f82)));
  });

  test.each<[string, unknown]>([
    [
      "an array that is longer",
      [
        [1, 2],
        [1, 2, 3],
      ],
    ],
    ["an array that is shorter", [[1, 2], [1]]],
    ["an empty array beside others", [[1], []]],
    ["an array beside an empty one", [[], [1]]],
    ["a number beside arrays", [[1], 1]],
    ["an array beside numbers", [1, [1]]],
    [
      "an array deeper than others",
      [
        [1, 2],
        [1, [2]],
      ],
    ],
  ])("refuses ragged arrays: %s", (_, value) => {
    expect(formatError(() => tensorFromJson(value, "float32", "x"))).toMatchObject({
      code: "malformed",
      tensor: "x",
    });
  });

  test("says where arrays differ", () => {
    const error = formatError(() => tensorFromJson([[[1, 2]], [[1, 2, 3]]], "float32", "ids"));
    expect(error.message).toBe(
      'Cannot read tensor "ids": it has an array of 3 at [1, 0], where others have an array of 2',
    );
  });

  test.each<[DType | "string", unknown, string]>([
    ["int8", 128, "out-of-range"],
    ["int8", -129, "out-of-range"],
    ["uint8", -1, "out-of-range"],
    ["uint32", 2 ** 32, "out-of-range"],
    ["int64", 2 ** 53, "out-of-range"],
    ["int64", "9223372036854775808", "out-of-range"],
    ["uint64", -1, "out-of-range"],
    ["uint64", "-1", "out-of-range"],
    ["float16", 65520, "out-of-range"],
    ["bfloat16", 3.4e38, "out-of-range"],
    ["float32", 1e39, "out-of-range"],
    ["float64", Number.POSITIVE_INFINITY, "out-of-range"],
    ["float32", Number.NaN, "out-of-range"],
    ["int32", 1.5, "malformed"],
    ["int32", "1", "malformed"],
    ["int64", "1e3", "malformed"],
    ["int64", "0x10", "malformed"],
    ["int64", "", "malformed"],
    ["int64", 0.5, "malformed"],
    ["bool", 1, "malformed"],
    ["uint8", true, "malformed"],
    ["float32", "1.5", "malformed"],
    ["float32", null, "malformed"],
    ["float32", { 0: 1 }, "malformed"],
    ["float32", undefined, "malformed"],
    ["string", 1, "malformed"],
  ])("refuses for %s the value %j", (dtype, value, code) => {
    const error = formatError(() =>
      tensorFromJson([[0, 0].map(() => good(dtype)), [good(dtype), value]], dtype, "x"),
    );
    expect(error).toMatchObject({ code, tensor: "x" });
    expect(error.message).toContain(" at [1, 1] is not a valid ");
  });

  test.each<DType>(["complex64", "float8_e5m2", "float4_e2m1", "int4"])("refuses %s", (dtype) => {
    expect(formatError(() => tensorFromJson([1], dtype, "x"))).toMatchObject({ code: "unsupported" });
    const bytes = new Uint8Array(0);
    expect(formatError(() => tensorToJson({ dtype, shape: [0], bytes }))).toMatchObject({
      code: "unsupported",
    });
  });

  test("refuses nesting without end", () => {
    let value: unknown = 1;
    for (let depth = 0; depth < 100_000; depth++) value = [value];
    expect(formatError(() => tensorFromJson(value, "int8", "x"))).toMatchObject({ code: "too-large" });
  });
});

describe("tensorToJson()", () => {
  test("spells what JSON has no numbers for", () => {
    const bytes = new Uint8Array(BigInt64Array.of(2n ** 53n, -(2n ** 53n) + 1n, -(2n ** 63n)).buffer);
    expect(tensorToJson({ dtype: "int64", shape: [3], bytes })).toEqual([
      "9007199254740992",
      -9007199254740991,
      "-9223372036854775808",
    ]);
    const floats = new Uint8Array(Float32Array.of(Number.NaN, Infinity, -Infinity, 0.5).buffer);
    expect(tensorToJson({ dtype: "float32", shape: [2, 2], bytes: floats })).toEqual([
      ["NaN", "Infinity"],
      ["-Infinity", 0.5],
    ]);
  });

  test("reads at any alignment", () => {
    const bytes = Uint8Array.of(9, 1, 0, 0, 0, 2, 0, 0, 0).subarray(1);
    expect(tensorToJson({ dtype: "int32", shape: [2], bytes })).toEqual([1, 2]);
  });

  test("gives a scalar bare and keeps empty arrays", () => {
    expect(tensorToJson({ dtype: "bool", shape: [], bytes: Uint8Array.of(1) })).toBe(true);
    expect(tensorToJson({ dtype: "string", shape: [2, 0], strings: [] })).toEqual([[], []]);
  });

  test("refuses a shape that makes arrays without end", () => {
    const bytes = new Uint8Array(0);
    expect(formatError(() => tensorToJson({ dtype: "int8", shape: [2 ** 40, 0], bytes }))).toMatchObject({
      code: "too-large",
    });
    expect(tensorToJson({ dtype: "int8", shape: [0, 2 ** 40], bytes })).toEqual([]);
  });

  test("refuses data of another size than the shape's", () => {
    expect(
      formatError(() => tensorToJson({ dtype: "int8", shape: [2], bytes: new Uint8Array(3) })),
    ).toMatchObject({
      code: "size-mismatch",
    });
    expect(formatError(() => tensorToJson({ dtype: "string", shape: [-1], strings: [] }))).toMatchObject({
      code: "size-mismatch",
    });
  });

  test("spells, by way of text, what tensorFromJson() reads back", () => {
    const dtypes: DType[] = [
      "int8",
      "uint8",
      "int16",
      "uint16",
      "int32",
      "uint32",
      "int64",
      "uint64",
      "float16",
      "bfloat16",
      "float32",
      "float64",
    ];
    const numbers = fc
      .tuple(fc.constantFrom(...dtypes), fc.array(fc.integer({ min: 1, max: 4 }), { maxLength: 4 }))
      .chain(([dtype, shape]) => {
        const length = (shape.reduce((a, b) => a * b, 1) * DTYPE_BITS[dtype]) / 8;
        return fc
          .uint8Array({ minLength: length, maxLength: length })
          .map((bytes): Tensor => ({ dtype, shape, bytes }));
      });
    fc.assert(
      fc.property(numbers, (tensor) => {
        const json = tensorToJson(tensor);
        const back = tensorFromJson(JSON.parse(JSON.stringify(json)), tensor.dtype, "x");
        expect(back.shape).toEqual(tensor.shape);
        // Not the bytes themselves: a NaN loses its payload and -0 its sign.
        expect(JSON.stringify(tensorToJson(back))).toEqual(JSON.stringify(json));
        if (!tensor.dtype.includes("float")) expect(back).toEqual(tensor);
      }),
    );
  });
});

function good(dtype: DType | "string"): unknown {
  if (dtype === "string") return "a";
  return dtype === "bool" ? true : 0;
}
