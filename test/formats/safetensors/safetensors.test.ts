import { readFileSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { FormatError } from "../../../src/errors.ts";
import { parseSafetensors } from "../../../src/formats/safetensors/parse.ts";
import {
  parseSafetensorsHeader,
  safetensorsHeaderSize,
} from "../../../src/formats/safetensors/parse-header.ts";
import { DTYPES } from "../../../src/formats/safetensors/schema.ts";
import { writeSafetensors } from "../../../src/formats/safetensors/write.ts";
import { type DType, DTYPE_BITS } from "../../../src/tensor/dtype.ts";
import type { NumberTensor, Tensor } from "../../../src/tensor/tensor.ts";
import { formatError } from "../../support/format-error.ts";
import { SAMPLED, offsets, some } from "../../support/speed.ts";

interface Described {
  metadata: Record<string, string> | null;
  tensors: Record<string, { dtype: string; shape: number[]; bytes: string }>;
}

const FOLDER = new URL("../../../fixtures/safetensors/", import.meta.url);
const file = (name: string): Uint8Array => new Uint8Array(readFileSync(new URL(name, FOLDER)));
const GOLDEN: [string, Described][] = readFileSync(new URL("expected.jsonl", FOLDER), "utf8")
  .trimEnd()
  .split("\n")
  .map((line) => JSON.parse(line));

/** A file of any header and as much data. */
function safetensors(header: unknown, data = 0): Uint8Array {
  const text = new TextEncoder().encode(typeof header === "string" ? header : JSON.stringify(header));
  const bytes = new Uint8Array(8 + text.length + data);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(text.length), true);
  bytes.set(text, 8);
  return bytes;
}

const tensor = (dtype: string, shape: unknown, ...data_offsets: unknown[]): object => ({
  dtype,
  shape,
  data_offsets,
});

describe("parseSafetensors()", () => {
  test.each(GOLDEN)("reads what the reference implementation wrote: %s", (name, { tensors }) => {
    const read = Object.entries(parseSafetensors(file(name), name)).map(([key, { dtype, shape, bytes }]) => [
      key,
      { dtype, shape, bytes: Buffer.from(bytes).toString("hex") },
    ]);
    expect(read.sort()).toEqual(Object.entries(tensors).sort());
  });

  test("gives views", () => {
    const bytes = file("dtypes.safetensors");
    const tensors = Object.values(parseSafetensors(bytes, "x"));
    expect(tensors.length).toBeGreaterThan(15);
    for (const { bytes: data } of tensors) expect(data.buffer).toBe(bytes.buffer);
  });

  test.each(GOLDEN)("refuses %s cut off anywhere, or longer", SAMPLED, (name) => {
    const bytes = file(name);
    for (const end of offsets(bytes.length)) {
      expect(formatError(() => parseSafetensors(bytes.slice(0, end), name))).toMatchObject({
        code: "malformed",
        path: name,
        offset: expect.any(Number),
      });
    }
    expect(formatError(() => parseSafetensors(Uint8Array.of(...bytes, 0), name))).toMatchObject({
      code: "malformed",
      offset: bytes.length,
    });
  });

  test.each(GOLDEN)("reads or refuses %s, whatever byte of its header is changed", SAMPLED, (name) => {
    const bytes = file(name);
    const end = safetensorsHeaderSize(bytes, { name, size: bytes.length });
    for (const at of offsets(end)) {
      for (const bit of [1, 16, 128]) {
        const changed = bytes.slice();
        changed[at] = (changed[at] as number) ^ bit;
        try {
          parseSafetensors(changed, name);
        } catch (error) {
          if (!(error instanceof FormatError)) throw error;
        }
      }
    }
  });
});

describe("parseSafetensorsHeader()", () => {
  test("needs no more than the header", () => {
    const bytes = file("names.safetensors");
    const source = { name: "names.safetensors", size: bytes.length };
    const size = safetensorsHeaderSize(bytes.subarray(0, 8), source);
    const header = parseSafetensorsHeader(bytes.subarray(0, size), source);
    expect(header.dataStart).toBe(size);
    expect(header.metadata).toEqual({ format: "pt" });
    expect(header.tensors[0]).toMatchObject({ offset: size });
    const last = header.tensors.at(-1);
    expect((last?.offset ?? 0) + (last?.length ?? 0)).toBe(bytes.length);
    expect(() => parseSafetensorsHeader(bytes.subarray(0, size - 1), source)).toThrow(RangeError);
  });

  test("gives tensors in the order of their data, those of no size before others at one place", () => {
    const header = {
      a: tensor("U8", [2], 0, 2),
      z: tensor("U8", [0], 0, 0),
      y: tensor("U8", [1], 2, 3),
      x: tensor("F32", [0, 5], 3, 3),
    };
    const bytes = safetensors(header, 3);
    const { tensors } = parseSafetensorsHeader(bytes, { name: "x", size: bytes.length });
    expect(tensors.map(({ name }) => name)).toEqual(["z", "a", "y", "x"]);
  });

  test("has no metadata where the file has none", () => {
    const bytes = safetensors("{}");
    expect(parseSafetensorsHeader(bytes, { name: "x", size: bytes.length })).toEqual({
      dataStart: 10,
      metadata: undefined,
      tensors: [],
    });
  });

  test("accepts padding after the header and further fields of a tensor", () => {
    const bytes = safetensors(`{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1],"more":true}}   \n`, 1);
    expect(parseSafetensors(bytes, "x")).toEqual({
      a: { dtype: "uint8", shape: [1], bytes: Uint8Array.of(0) },
    });
  });

  test.each<[string, unknown, number, string, RegExp]>([
    ["an empty header", "", 0, "malformed", /start with \{/],
    ["a space before the brace", " {}", 0, "malformed", /start with \{/],
    ["an array", "[]", 0, "malformed", /start with \{/],
    ["text after the object", "{}x", 0, "malformed", /not JSON/],
    ["a NUL as padding", "{}\0", 0, "malformed", /not JSON/],
    [
      "a tensor twice",
      '{"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}',
      0,
      "duplicate",
      /"a" twice/,
    ],
    [
      "a field twice",
      '{"a":{"dtype":"U8","dtype":"U8","shape":[0],"data_offsets":[0,0]}}',
      0,
      "duplicate",
      /"dtype" twice/,
    ],
    ["metadata that is a list", { __metadata__: [] }, 0, "malformed", /strings/],
    ["metadata of numbers", { __metadata__: { a: 1 } }, 0, "malformed", /strings/],
    ["a tensor that is null", { a: null }, 0, "malformed", /not an object/],
    ["no dtype", { a: { shape: [], data_offsets: [0, 0] } }, 0, "malformed", /dtype/],
    ["an unknown dtype", { a: tensor("F128", [0], 0, 0) }, 0, "unsupported", /"F128"/],
    [
      "a dtype that objects inherit",
      { a: tensor("constructor", [0], 0, 0) },
      0,
      "unsupported",
      /constructor/,
    ],
    ["no shape", { a: { dtype: "U8", data_offsets: [0, 0] } }, 0, "malformed", /shape/],
    ["a negative dimension", { a: tensor("U8", [-1], 0, 0) }, 0, "malformed", /shape/],
    ["a fraction as dimension", { a: tensor("U8", [0.5], 0, 0) }, 0, "malformed", /shape/],
    ["a string as dimension", { a: tensor("U8", ["1"], 0, 1) }, 1, "malformed", /shape/],
    [
      "a dimension over 2^53",
      '{"a":{"dtype":"U8","shape":[9007199254740993],"data_offsets":[0,1]}}',
      1,
      "malformed",
      /shape/,
    ],
    [
      "a shape whose product is over 2^53",
      { a: tensor("U8", [2 ** 40, 2 ** 40], 0, 0) },
      0,
      "too-large",
      /shape/,
    ],
    ["one offset", { a: tensor("U8", [1], 0) }, 1, "malformed", /data_offsets/],
    ["three offsets", { a: tensor("U8", [1], 0, 1, 1) }, 1, "malformed", /data_offsets/],
    ["a negative offset", { a: tensor("U8", [1], -1, 0) }, 1, "malformed", /data_offsets/],
    ["reversed offsets", { a: tensor("U8", [1], 1, 0) }, 1, "malformed", /ends at 0, before it starts at 1/],
    [
      "another size than the shape's",
      { a: tensor("F32", [2], 0, 7) },
      7,
      "size-mismatch",
      /takes 8 bytes, its data has 7/,
    ],
    ["half a byte", { a: tensor("F4", [3], 0, 2) }, 2, "size-mismatch", /takes 1.5 bytes/],
    [
      "an overlap",
      { a: tensor("U8", [2], 0, 2), b: tensor("U8", [2], 1, 3) },
      3,
      "malformed",
      /tensor "b" .*inside tensor "a"/,
    ],
    [
      "two tensors at one place",
      { a: tensor("U8", [2], 0, 2), b: tensor("U8", [2], 0, 2) },
      2,
      "malformed",
      /inside tensor "a"/,
    ],
    [
      "a tensor of no size inside another",
      { a: tensor("U8", [2], 0, 2), b: tensor("U8", [0], 1, 1) },
      2,
      "malformed",
      /inside tensor "a"/,
    ],
    ["a hole at the start", { a: tensor("U8", [1], 1, 2) }, 2, "malformed", /belong to no tensor/],
    [
      "a hole between",
      { a: tensor("U8", [1], 0, 1), b: tensor("U8", [1], 2, 3) },
      3,
      "malformed",
      /belong to no tensor/,
    ],
    [
      "a tensor of no size past a hole",
      { a: tensor("U8", [0], 5, 5) },
      5,
      "malformed",
      /belong to no tensor/,
    ],
    ["data of no tensor at the end", { a: tensor("U8", [1], 0, 1) }, 2, "malformed", /belong to no tensor/],
    ["data past the end", { a: tensor("U8", [9], 0, 9) }, 8, "malformed", /past the end/],
  ])("refuses %s", (_, header, data, code, message) => {
    const error = formatError(() => parseSafetensors(safetensors(header, data), "x.safetensors"));
    expect(error).toMatchObject({ code, path: "x.safetensors" });
    expect(error.message).toMatch(message);
  });

  test("says where in the file a tensor ends too late", () => {
    const bytes = safetensors({ w: tensor("F32", [4], 0, 16) }, 15);
    const start = bytes.length - 15;
    const error = formatError(() => parseSafetensors(bytes, "x.safetensors"));
    expect(error.message).toBe(
      `Cannot read tensor "w" of "x.safetensors": it ends at byte ${start + 16}, past the end at ${start + 15}`,
    );
    expect(error).toMatchObject({ tensor: "w", offset: start });
  });

  test("says no more of a long shape than there is room for", () => {
    const shape = Array.from({ length: 100_000 }, () => 1);
    for (const code of ["U8", "F32"]) {
      const { message } = formatError(() =>
        parseSafetensors(safetensors({ w: tensor(code, [...shape, 2 ** 52], 0, 1) }, 1), "x"),
      );
      expect(message.length).toBeLessThan(300);
    }
  });

  test("refuses a header that is not UTF-8", () => {
    const bytes = safetensors('{"__metadata__":{"a":"?"}}');
    bytes[bytes.indexOf(0x3f)] = 0xff;
    expect(formatError(() => parseSafetensors(bytes, "x"))).toMatchObject({ code: "malformed" });
  });
});

describe("safetensorsHeaderSize()", () => {
  test.each([100_000_001n, 2n ** 53n, 2n ** 64n - 1n])("refuses a header of %s bytes", (length) => {
    const first = new Uint8Array(8);
    new DataView(first.buffer).setBigUint64(0, length, true);
    expect(formatError(() => safetensorsHeaderSize(first, { name: "x", size: 2 ** 50 }))).toMatchObject({
      code: "too-large",
    });
  });

  test("refuses a header past the end", () => {
    const first = new Uint8Array(8);
    new DataView(first.buffer).setBigUint64(0, 100_000_000n, true);
    expect(safetensorsHeaderSize(first, { name: "x", size: 100_000_008 })).toBe(100_000_008);
    expect(formatError(() => safetensorsHeaderSize(first, { name: "x", size: 100_000_007 }))).toMatchObject({
      code: "malformed",
    });
  });
});

describe("writeSafetensors()", () => {
  test.each(GOLDEN)("gives %s back byte for byte", (name, { metadata }) => {
    expect(writeSafetensors(parseSafetensors(file(name), name), metadata ?? undefined)).toEqual(file(name));
  });

  test("writes what parseSafetensors() reads back", SAMPLED, () => {
    const key = fc
      .oneof(fc.string({ unit: "binary" }), fc.constantFrom("__proto__", "0", "1", "toString"))
      .filter((name) => name !== "__metadata__");
    const value = fc
      .tuple(fc.constantFrom(...DTYPES.values()), fc.array(fc.nat(4), { maxLength: 4 }))
      .map(([dtype, shape]): [DType, number[]] => [dtype, DTYPE_BITS[dtype] % 8 ? [...shape, 4] : shape])
      .chain(([dtype, shape]) => {
        const length = (shape.reduce((a, b) => a * b, 1) * DTYPE_BITS[dtype]) / 8;
        return fc
          .uint8Array({ minLength: length, maxLength: length })
          .map((bytes): NumberTensor => ({ dtype, shape, bytes }));
      });
    fc.assert(
      fc.property(fc.array(fc.tuple(key, value), { maxLength: 6 }), (entries) => {
        const tensors: Record<string, Tensor> = Object.fromEntries(entries);
        const bytes = writeSafetensors(tensors);
        const { dataStart } = parseSafetensorsHeader(bytes, { name: "x", size: bytes.length });
        expect(dataStart % 8).toBe(0);
        expect(Object.entries(parseSafetensors(bytes, "x")).sort()).toEqual(Object.entries(tensors).sort());
      }),
      { numRuns: some(100) },
    );
  });

  const bytes = new Uint8Array(2);
  test.each<[string, string, Tensor, string]>([
    ["strings", "a", { dtype: "string", shape: [0], strings: [] }, "unsupported"],
    ["int4", "a", { dtype: "int4", shape: [4], bytes }, "unsupported"],
    ["complex128", "a", { dtype: "complex128", shape: [0], bytes: bytes.subarray(2) }, "unsupported"],
    ["a part of a byte", "a", { dtype: "float4_e2m1", shape: [3], bytes }, "size-mismatch"],
    ["another size than the shape's", "a", { dtype: "uint8", shape: [3], bytes }, "size-mismatch"],
    ["a negative dimension", "a", { dtype: "uint8", shape: [-2], bytes }, "size-mismatch"],
    ["the name of the metadata", "__metadata__", { dtype: "uint8", shape: [2], bytes }, "bad-name"],
  ])("refuses %s", (_, name, value, code) => {
    expect(formatError(() => writeSafetensors({ [name]: value }))).toMatchObject({ code, tensor: name });
  });
});
