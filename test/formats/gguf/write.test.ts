import { readdirSync, readFileSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type GgufHeader, parseGgufHeader } from "../../../src/formats/gguf/parse.ts";
import { type GgufType, TENSOR_TYPES, VALUE_TYPES } from "../../../src/formats/gguf/schema.ts";
import { GgufArray, type GgufEntry, type GgufValue } from "../../../src/formats/gguf/values.ts";
import {
  encodeGgufHeader,
  type GgufHeaderSpec,
  type GgufTensorSpec,
} from "../../../src/formats/gguf/write.ts";
import { ggufArray } from "../../../src/formats/gguf/write-metadata.ts";
import { BLOCK_ELEMENTS, type DType, tensorBytes } from "../../../src/tensor/dtype.ts";
import { array, buildGguf, int32, text, TYPE, uint16, uint32 } from "../../support/gguf-builder.ts";
import { formatError } from "../../support/format-error.ts";
import { SAMPLED, some } from "../../support/speed.ts";

const FOLDER = new URL("../../../fixtures/gguf/", import.meta.url);
const FILES = readdirSync(FOLDER).filter((name) => name.endsWith(".gguf") && name !== "big-endian.gguf");

function parse(bytes: Uint8Array, size = bytes.length): GgufHeader {
  const header = parseGgufHeader(bytes, { name: "x.gguf", size });
  if (!header) throw new Error("more was asked for");
  return header;
}

describe("encodeGgufHeader()", () => {
  test.each(FILES)("gives the header of %s back byte for byte", (name) => {
    const file = new Uint8Array(readFileSync(new URL(name, FOLDER)));
    const header = parse(file);
    const { bytes, offsets, size } = encodeGgufHeader(header);
    expect(bytes).toEqual(file.slice(0, header.dataStart));
    expect(offsets).toEqual(header.tensors.map(({ offset }) => offset));
    expect(size).toBe(file.length);
  });

  test("writes what is spelled by hand", () => {
    const hand = buildGguf({
      version: 2,
      alignment: 64,
      entries: [
        uint16("split.no", 1),
        int32("i", -2),
        ["u64", TYPE.uint64, (out) => out.integer(2n ** 64n - 1n, 8)],
        ["i64", TYPE.int64, (out) => out.integer(-(2n ** 63n), 8)],
        ["i8", TYPE.int8, (out) => out.integer(-1, 1)],
        ["yes", TYPE.bool, (out) => out.raw([1])],
        ["half", TYPE.float32, (out) => out.integer(0x3f000000, 4)],
        ["tenth", TYPE.float64, (out) => out.integer(0x3fb999999999999an, 8)],
        text("größe", "🙂"),
        array("strings", TYPE.string, 2, (out) => out.text("").text("b")),
        array("nested", TYPE.array, 1, (out) => out.integer(TYPE.uint8, 4).integer(2, 8).raw([3, 4])),
        array("none", TYPE.float64, 0, () => {}),
        uint32("general.alignment", 64),
      ],
      tensors: [
        { name: "a", dims: [32, 2, 3], type: 8, size: 6 * 34 },
        { name: "b", dims: [], type: 0, size: 4 },
        { name: "c", dims: [5], type: 99, size: 100 },
        { name: "d", dims: [3], type: 30, size: 6 },
      ],
    });
    const spec: GgufHeaderSpec = {
      version: 2,
      alignment: 64,
      metadata: [
        { key: "split.no", type: "uint16", value: 1 },
        { key: "i", type: "int32", value: -2 },
        { key: "u64", type: "uint64", value: 2n ** 64n - 1n },
        { key: "i64", type: "int64", value: -(2n ** 63n) },
        { key: "i8", type: "int8", value: -1n },
        { key: "yes", type: "bool", value: true },
        { key: "half", type: "float32", value: 0.5 },
        { key: "tenth", type: "float64", value: 0.1 },
        { key: "größe", type: "string", value: "🙂" },
        { key: "strings", type: "array", value: ggufArray("string", ["", "b"]) },
        { key: "nested", type: "array", value: ggufArray("array", [ggufArray("uint8", [3, 4])]) },
        { key: "none", type: "array", value: ggufArray("float64", []) },
      ],
      tensors: [
        { name: "a", type: 8, shape: [3, 2, 32] },
        { name: "b", type: 0, shape: [] },
        { name: "c", type: 99, shape: [5], length: 100 },
        { name: "d", type: 30, shape: [3], length: 6 },
      ],
    };
    const { bytes, offsets, size } = encodeGgufHeader(spec);
    const start = bytes.length;
    expect(bytes).toEqual(hand.bytes.slice(0, start));
    expect(offsets).toEqual([0, 256, 320, 448].map((offset) => start + offset));
    expect(size).toBe(hand.bytes.length);
  });

  test("gives back values that JavaScript has no number or text for", () => {
    const { bytes } = buildGguf({
      entries: [
        ["f", TYPE.float32, (out) => out.integer(0xff800001, 4)],
        ["d", TYPE.float64, (out) => out.integer(0x7ff0000000000001n, 8)],
        ["n", TYPE.float32, (out) => out.integer(0x7fc00000, 4)],
        ["z", TYPE.float64, (out) => out.integer(1n << 63n, 8)],
        text("s", [0xff, 0xc3]),
        array("a", TYPE.float32, 2, (out) => out.integer(0x7f800001, 4).integer(0x7fc00000, 4)),
      ],
    });
    const { metadata } = parse(bytes);
    expect(encodeGgufHeader({ metadata, tensors: [] }).bytes).toEqual(bytes);
    const { value } = metadata[5] as GgufEntry;
    expect(ggufArray("float32", value as GgufArray)).toEqual(value);
  });

  test("pads a header without tensors as well, as llama.cpp's package does", () => {
    expect(encodeGgufHeader({ metadata: [], tensors: [] })).toMatchObject({ offsets: [], size: 32 });
  });

  test("takes the alignment from the metadata, which must not say another", () => {
    const entry: GgufEntry = { key: "general.alignment", type: "uint32", value: 128 };
    expect(encodeGgufHeader({ metadata: [entry], tensors: [] }).size).toBe(128);
    const spec = { metadata: [entry], tensors: [], alignment: 64 };
    expect(formatError(() => encodeGgufHeader(spec))).toMatchObject({ code: "malformed" });
  });

  const tensor: GgufTensorSpec = { name: "a", type: 0, shape: [2] };
  const entry = (type: GgufType, value: GgufValue): GgufHeaderSpec => ({
    metadata: [{ key: "k", type, value }],
    tensors: [],
  });
  let deep = ggufArray("uint8", []);
  for (let level = 1; level < 17; level++) deep = new GgufArray("array", 1, nest(deep));

  /** The bytes of an array as an element. */
  function nest(inner: GgufArray): Uint8Array {
    return ggufArray("array", [inner]).bytes;
  }

  test.each<[string, Partial<GgufHeaderSpec>, string]>([
    ["version 1", { version: 1 }, "unsupported"],
    ["an alignment of 48", { alignment: 48 }, "malformed"],
    ["an alignment of 0", { alignment: 0 }, "malformed"],
    ["an alignment of half a byte", { alignment: 0.5 }, "malformed"],
    [
      "an alignment that is no uint32",
      { metadata: [{ key: "general.alignment", type: "uint16", value: 32 }] },
      "malformed",
    ],
    ["an empty key", { metadata: [{ key: "", type: "bool", value: true }] }, "bad-name"],
    ["a key with a NUL", { metadata: [{ key: "a\0", type: "bool", value: true }] }, "bad-name"],
    [
      "a key of 65,536 bytes",
      { metadata: [{ key: "ß".repeat(32768), type: "bool", value: true }] },
      "bad-name",
    ],
    [
      "a key twice",
      { metadata: [entry("bool", true), entry("bool", true)].flatMap((e) => e.metadata) },
      "duplicate",
    ],
    ["half a surrogate pair", entry("string", "\ud800"), "malformed"],
    ["a number as string", entry("string", 1), "malformed"],
    ["a string as number", entry("uint8", "1"), "malformed"],
    ["a number as bool", entry("bool", 1), "malformed"],
    ["a bigint as float", entry("float32", 1n), "malformed"],
    ["a float of other bytes", entry("float32", new Uint8Array(8)), "malformed"],
    ["a number as array", entry("array", 1), "malformed"],
    ["a fraction as integer", entry("uint32", 0.5), "malformed"],
    ["a number that is not exact", entry("uint64", 2 ** 53), "malformed"],
    ["uint8 256", entry("uint8", 256), "out-of-range"],
    ["uint8 -1", entry("uint8", -1), "out-of-range"],
    ["int8 128", entry("int8", 128), "out-of-range"],
    ["uint64 2^64", entry("uint64", 2n ** 64n), "out-of-range"],
    ["int64 2^63", entry("int64", 2n ** 63n), "out-of-range"],
    ["arrays of 17 levels", entry("array", deep), "too-large"],
    ["a tensor twice", { tensors: [tensor, tensor] }, "duplicate"],
    ["a tensor's name with a NUL", { tensors: [{ ...tensor, name: "a\0" }] }, "bad-name"],
    ["five dimensions", { tensors: [{ ...tensor, shape: [1, 1, 1, 1, 1] }] }, "unsupported"],
    ["a negative dimension", { tensors: [{ ...tensor, shape: [-1] }] }, "too-large"],
    ["a fraction of a dimension", { tensors: [{ ...tensor, shape: [0.5] }] }, "too-large"],
    [
      "rows that are not whole blocks",
      { tensors: [{ ...tensor, type: 8, shape: [32, 2] }] },
      "size-mismatch",
    ],
    ["another length than the shape's", { tensors: [{ ...tensor, length: 9 }] }, "size-mismatch"],
    ["an unknown type without a length", { tensors: [{ ...tensor, type: 99 }] }, "size-mismatch"],
    ["a type of -1", { tensors: [{ ...tensor, type: -1, length: 1 }] }, "unsupported"],
    ["bytes past 2^53", { tensors: [{ ...tensor, type: 99, shape: [1], length: 2 ** 53 - 1 }] }, "too-large"],
  ])("refuses %s", (_, spec, code) => {
    expect(formatError(() => encodeGgufHeader({ metadata: [], tensors: [], ...spec }))).toMatchObject({
      code,
    });
  });
});

/** A value of any type, as the parser gives it. */
function valueOf(type: GgufType, depth: number): fc.Arbitrary<GgufValue> {
  switch (type) {
    case "uint8":
      return fc.integer({ min: 0, max: 2 ** 8 - 1 });
    case "int8":
      return fc.integer({ min: -(2 ** 7), max: 2 ** 7 - 1 });
    case "uint16":
      return fc.integer({ min: 0, max: 2 ** 16 - 1 });
    case "int16":
      return fc.integer({ min: -(2 ** 15), max: 2 ** 15 - 1 });
    case "uint32":
      return fc.integer({ min: 0, max: 2 ** 32 - 1 });
    case "int32":
      return fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 });
    case "uint64":
      return fc.bigInt({ min: 0n, max: 2n ** 64n - 1n });
    case "int64":
      return fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n });
    case "float32":
      return fc.float();
    case "float64":
      return fc.double();
    case "bool":
      return fc.boolean();
    case "string":
      return fc.string({ unit: "binary", maxLength: 12 });
    default:
      return fc
        .constantFrom(...VALUE_TYPES.map(([name]) => name).filter((name) => depth < 3 || name !== "array"))
        .chain((inner) =>
          fc.array(valueOf(inner, depth + 1), { maxLength: 5 }).map((items) => ggufArray(inner, items)),
        );
  }
}

/** What can be compared of a value: that of an array, in nested arrays. */
function plain(value: GgufValue): unknown {
  return value instanceof GgufArray ? [value.type, value.length, [...value].map(plain)] : value;
}

describe("encodeGgufHeader() and parseGgufHeader()", () => {
  const name = fc.string({ unit: "binary", maxLength: 20 }).filter((text) => !text.includes("\0"));
  const metadata = fc.uniqueArray(
    fc.constantFrom(...VALUE_TYPES.map(([type]) => type)).chain((type) =>
      fc
        .tuple(name, valueOf(type, 0))
        .filter(([key]) => key !== "" && key !== "general.alignment")
        .map(([key, value]): GgufEntry => ({ key, type, value })),
    ),
    { selector: ({ key }) => key, maxLength: 8 },
  );
  const tensors = fc.uniqueArray(
    fc
      .tuple(
        name,
        fc.constantFrom(...TENSOR_TYPES.keys(), 99),
        fc.array(fc.nat(3), { maxLength: 3 }),
        fc.nat(3),
        fc.nat(100),
      )
      .map(([key, type, outer, row, length]): GgufTensorSpec => {
        const dtype = TENSOR_TYPES.get(type);
        const shape = [...outer, row * (BLOCK_ELEMENTS[dtype as DType] ?? 1)];
        return { name: key, type, shape, length: dtype ? (tensorBytes(dtype, shape) ?? 0) : length + 1 };
      }),
    { selector: (each) => each.name, maxLength: 8 },
  );

  test("are the reverse of each other", SAMPLED, () => {
    fc.assert(
      fc.property(
        fc.constantFrom(2, 3),
        metadata,
        tensors,
        fc.constantFrom(1, 8, 32, 4096),
        (version, entries, specs, alignment) => {
          const { bytes, offsets, size } = encodeGgufHeader({
            version,
            metadata: entries,
            tensors: specs,
            alignment,
          });
          const header = parse(bytes, size);
          expect(header).toMatchObject({ version, alignment, dataStart: bytes.length });
          expect(header.tensors.map(({ offset }) => offset)).toEqual(offsets);
          expect(header.tensors.map(({ name, type, shape }) => [name, type, shape])).toEqual(
            specs.map(({ name, type, shape }) => [name, type, shape]),
          );
          for (const [index, { length, dtype }] of header.tensors.entries()) {
            if (dtype) expect(length).toBe(specs[index]?.length);
          }
          expect(
            header.metadata.slice(0, entries.length).map(({ key, type, value }) => [key, type, plain(value)]),
          ).toEqual(entries.map(({ key, type, value }) => [key, type, plain(value)]));
          expect(header.metadata.length).toBe(entries.length + (alignment === 32 ? 0 : 1));
          expect(encodeGgufHeader(header)).toEqual({ bytes, offsets, size });
        },
      ),
      { numRuns: some(500) },
    );
  });
});
