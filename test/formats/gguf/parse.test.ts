import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { TareError } from "../../../src/errors.ts";
import { type GgufHeader, parseGgufHeader } from "../../../src/formats/gguf/parse.ts";
import { TENSOR_TYPES } from "../../../src/formats/gguf/schema.ts";
import { findEntry, GgufArray, type GgufValue } from "../../../src/formats/gguf/values.ts";
import { BLOCK_ELEMENTS, type DType, DTYPE_BITS, tensorBytes } from "../../../src/tensor/dtype.ts";
import {
  array,
  type BuiltFile,
  buildGguf,
  floats,
  GgufBytes,
  text,
  TYPE,
  uint16,
  uint32,
} from "../../support/gguf-builder.ts";
import { formatError } from "../../support/format-error.ts";
import { SAMPLED, offsets } from "../../support/speed.ts";

interface DescribedValue {
  readonly type: string;
  readonly of?: string;
  readonly value: unknown;
}

interface Described {
  readonly version?: number;
  readonly alignment: number;
  readonly metadata: readonly (DescribedValue & { key: string })[];
  readonly tensors: readonly {
    readonly name: string;
    readonly type: number;
    readonly dtype: string | null;
    readonly shape: readonly number[];
    readonly bytes: number;
    readonly sha256: string;
  }[];
}

const FOLDER = new URL("../../../fixtures/gguf/", import.meta.url);
const file = (name: string): Uint8Array => new Uint8Array(readFileSync(new URL(name, FOLDER)));
const GOLDEN: [string, Described][] = readFileSync(new URL("expected.jsonl", FOLDER), "utf8")
  .trimEnd()
  .split("\n")
  .map((line) => JSON.parse(line));

const sha256 = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");

function parse(bytes: Uint8Array, name = "x.gguf", size = bytes.length): GgufHeader {
  const header = parseGgufHeader(bytes, { name, size });
  if (!header) throw new Error("more was asked for");
  return header;
}

/** A value as expected.jsonl has it. */
function described(type: string, value: GgufValue): unknown {
  if (value instanceof GgufArray) {
    const items = [...value].map((item) => described(value.type, item));
    expect(items.length).toBe(value.length);
    return type === "array" ? { type, of: value.type, value: items } : undefined;
  }
  if (typeof value === "bigint") return String(value);
  if (typeof value === "number" && Number.isNaN(value)) return { float: "nan" };
  if (typeof value === "number" && !Number.isFinite(value)) return { float: value > 0 ? "inf" : "-inf" };
  if (value instanceof Uint8Array) return { hex: Buffer.from(value).toString("hex") };
  return value;
}

describe("parseGgufHeader()", () => {
  test.each(GOLDEN)("finds what llama.cpp's package wrote into %s", (name, expected) => {
    const bytes = file(name);
    const header = parse(bytes, name);
    expect(header.version).toBe(expected.version ?? 3);
    expect(header.alignment).toBe(expected.alignment);
    expect(header.dataStart % header.alignment).toBe(0);
    const metadata = header.metadata.map(({ key, type, value }) => {
      const spelled = described(type, value);
      return { key, ...(type === "array" ? (spelled as object) : { type, value: spelled }) };
    });
    expect(metadata).toEqual(
      [
        { key: "general.architecture", type: "string", value: "llama" },
        ...expected.metadata.filter((entry) => entry.key !== "general.architecture"),
      ].filter((entry) => expected.metadata.some((other) => other.key === entry.key)),
    );
    const tensors = header.tensors.map(({ name: tensor, type, dtype, shape, offset, length }) => ({
      name: tensor,
      type,
      dtype: dtype ?? null,
      shape,
      // Of unknown types the padding belongs to the tensor.
      bytes: dtype ? length : undefined,
      sha256: dtype ? sha256(bytes.subarray(offset, offset + length)) : undefined,
    }));
    expect(tensors).toEqual(
      expected.tensors.map((each) => (each.dtype ? each : { ...each, bytes: undefined, sha256: undefined })),
    );
  });

  test("knows every type of tensor, and their sizes", () => {
    const [, types] = GOLDEN.find(([name]) => name === "types.gguf") as [string, Described];
    expect(types.tensors.map(({ type }) => type).sort((a, b) => a - b)).toEqual([...TENSOR_TYPES.keys()]);
    for (const { dtype, shape, bytes } of types.tensors) {
      expect([dtype, tensorBytes(dtype as DType, shape)]).toEqual([dtype, bytes]);
    }
    expect(Object.keys(BLOCK_ELEMENTS).sort()).toEqual(
      types.tensors.flatMap(({ dtype, shape }) => (shape[1] === 5 ? [] : [dtype])).sort(),
    );
  });

  test("keeps tensors of unknown types as bytes up to the next tensor", () => {
    const bytes = file("unknown.gguf");
    const [, first, , last] = parse(bytes).tensors;
    expect(first).toMatchObject({ type: 142, dtype: undefined, shape: [4, 20], length: 96 });
    expect(last).toMatchObject({ type: 142, dtype: undefined, shape: [64], length: 64 });
    expect((last?.offset ?? 0) + (last?.length ?? 0)).toBe(bytes.length);
  });

  test.each(GOLDEN)("refuses %s cut off anywhere", SAMPLED, (name) => {
    const bytes = file(name);
    const { tensors, dataStart } = parse(bytes, name);
    const last = tensors.at(-1);
    // The padding after the last tensor is not missed, nor that of a header without tensors.
    const needed = last ? last.offset + (last.dtype ? last.length : 1) : dataStart - 31;
    for (const end of offsets(needed, dataStart)) {
      const error = formatError(() => parseGgufHeader(bytes.slice(0, end), { name, size: end }));
      expect(error).toMatchObject({ path: name, offset: expect.any(Number) });
      expect(["malformed", "size-mismatch"]).toContain(error.code);
    }
    expect(parse(bytes.slice(0, needed + 31), name).tensors.length).toBe(tensors.length);
  });

  test.each(GOLDEN)("needs no more of %s than its header, and says when it needs more", SAMPLED, (name) => {
    const bytes = file(name);
    const whole = parse(bytes, name);
    let least = 0;
    for (const end of offsets(bytes.length + 1, whole.dataStart)) {
      const header = parseGgufHeader(bytes.slice(0, end), { name, size: bytes.length });
      if (header) expect(header).toEqual(whole);
      else least = end + 1;
    }
    expect(least).toBeLessThanOrEqual(whole.dataStart);
    expect(least).toBeGreaterThan(whole.dataStart - whole.alignment);
  });

  test.each(GOLDEN)("reads or refuses %s, whatever byte of its header is changed", SAMPLED, (name) => {
    const bytes = file(name);
    const { dataStart } = parse(bytes, name);
    for (const at of offsets(dataStart)) {
      for (const bit of [1, 16, 128]) {
        const changed = bytes.slice();
        changed[at] = (changed[at] as number) ^ bit;
        try {
          for (const { value } of parse(changed, name).metadata)
            if (value instanceof GgufArray) Array.from(value);
        } catch (error) {
          if (!(error instanceof TareError)) throw error;
        }
      }
    }
  });

  test("takes what follows the last tensor, and padding of any bytes", () => {
    const { bytes } = buildGguf({ tensors: [floats("a", 3), floats("b", 3)], data: 1000 });
    const before = parse(bytes);
    bytes.fill(0xff, before.dataStart - 1, before.dataStart);
    bytes.fill(0xff, before.dataStart + 12, before.dataStart + 32);
    expect(parse(bytes)).toEqual(before);
    expect(before.tensors.at(-1)).toMatchObject({ offset: before.dataStart + 32, length: 12 });
  });

  test("takes a file of nothing, with and without padding", () => {
    const { bytes } = buildGguf();
    expect(parse(bytes)).toEqual({ version: 3, metadata: [], tensors: [], alignment: 32, dataStart: 32 });
    expect(parse(bytes.slice(0, 24)).dataStart).toBe(24);
  });

  test("takes tensors past 4 GiB", () => {
    const size = 3 * 2 ** 30;
    const { bytes } = buildGguf({
      tensors: [0, 1, 2].map((nth) => ({ name: `t${nth}`, dims: [2 ** 20, 768], type: 0, size })),
      data: 0,
    });
    const { tensors, dataStart } = parse(bytes, "x", bytes.length + 3 * size);
    expect(tensors[2]).toMatchObject({ shape: [768, 2 ** 20], offset: dataStart + 2 * size, length: size });
    const error = formatError(() => parse(bytes, "x", bytes.length + 3 * size - 1));
    expect(error).toMatchObject({ code: "size-mismatch", tensor: "t2", offset: dataStart + 2 * size });
  });

  test("keeps a NaN with bits of its own, text that is not UTF-8, and a mark at a string's start", () => {
    const { bytes } = buildGguf({
      entries: [
        ["f", TYPE.float32, (out) => out.integer(0x7f800001, 4)],
        ["d", TYPE.float64, (out) => out.integer(0xfff8000000000001n, 8)],
        text("s", [0xff]),
        text("m", "\ufeffx"),
        array("a", TYPE.string, 2, (out) => out.text([0xc3]).text("\ufeff")),
      ],
    });
    const values = parse(bytes).metadata.map(({ value }) => value);
    expect(values.slice(0, 4)).toEqual([
      Uint8Array.of(1, 0, 0x80, 0x7f),
      Uint8Array.of(1, 0, 0, 0, 0, 0, 0xf8, 0xff),
      Uint8Array.of(0xff),
      "\ufeffx",
    ]);
    expect([...(values[4] as GgufArray)]).toEqual([Uint8Array.of(0xc3), "\ufeff"]);
  });

  test("reads 150,000 tokens in less than 100 ms", () => {
    const tokens = new GgufBytes();
    for (let index = 0; index < 150_000; index++) tokens.text(`▁token${index}`);
    const spelled = tokens.finish();
    const { bytes } = buildGguf({
      entries: [array("tokenizer.ggml.tokens", TYPE.string, 150_000, (out) => out.raw(spelled))],
    });
    const times = [1, 2, 3].map(() => {
      const start = performance.now();
      parse(bytes);
      return performance.now() - start;
    });
    expect(Math.min(...times)).toBeLessThan(100);
    const { value } = findEntry(parse(bytes).metadata, "tokenizer.ggml.tokens") ?? {};
    expect([...(value as GgufArray)].at(-1)).toBe("▁token149999");
  });

  const huge = 2n ** 60n;
  const bools = (...values: number[]): BuiltFile => ({
    entries: [array("b", TYPE.bool, values.length, (out) => out.raw(values))],
  });
  const nested = (depth: number): BuiltFile => ({
    entries: [
      array("n", depth > 1 ? TYPE.array : TYPE.uint8, 1, (out) => {
        for (let inner = depth - 1; inner > 0; inner--) {
          out.integer(inner > 1 ? TYPE.array : TYPE.uint8, 4, "type").integer(1, 8, "count");
        }
        out.raw([7]);
      }),
    ],
  });

  test("takes arrays of 16 levels", () => {
    let value = parse(buildGguf(nested(16)).bytes).metadata[0]?.value;
    for (let level = 0; level < 16; level++) [value] = value as GgufArray;
    expect(value).toBe(7);
  });

  test.each<[string, BuiltFile, string, RegExp]>([
    ["another magic number", { magic: "GGML" }, "unknown-format", /does not start with GGUF/],
    ["version 0", { version: 0 }, "unsupported", /version is 0/],
    ["version 1", { version: 1 }, "unsupported", /version is 1/],
    ["version 4", { version: 4 }, "unsupported", /version is 4/],
    ["a big-endian file", { version: 0x03000000 }, "unsupported", /big-endian/],
    ["2^60 entries", { entryCount: huge }, "malformed", /entries is 1152921504606846976/],
    ["2^60 tensors", { tensorCount: huge }, "malformed", /tensors is 1152921504606846976/],
    ["2^64 - 1 tensors", { tensorCount: -1 }, "malformed", /tensors is 18446744073709551615/],
    ["more entries than the rest can hold", { entryCount: 1 }, "malformed", /entries is 1, and 8 bytes/],
    [
      "more entries than fit the file, all in padding",
      { entryCount: 2, data: 200 },
      "malformed",
      /key 0 is empty/,
    ],
    [
      "a key of 2^60 bytes",
      { entries: [["k", 0, (out) => out.raw([0]).text("x", huge).raw(Array(99).fill(0))]], entryCount: 2 },
      "malformed",
      /key 1 is 1152921504606846976/,
    ],
    ["an empty key", { entries: [uint16("", 1)] }, "malformed", /key 0 is empty/],
    ["a key of 65,536 bytes", { entries: [uint16("k".repeat(65_536), 1)] }, "too-large", /over 65535/],
    ["a key that is not UTF-8", { entries: [text([0xff], "v")] }, "malformed", /key 0 is not UTF-8/],
    // Of which llama.cpp would see the first half: a split.no that is no uint16.
    ["a key with a NUL", { entries: [text("split.no\0", "v")] }, "malformed", /key 0 has a NUL/],
    ["a key twice", { entries: [uint16("k", 1), uint32("k", 1)] }, "duplicate", /key "k" twice/],
    ["a value of type 13", { entries: [["k", 13, (out) => out.raw([0])]] }, "malformed", /type 13/],
    [
      "an array of type 13",
      { entries: [array("k", 13, 1, (out) => out.raw([0]))] },
      "malformed",
      /"k" has the type 13/,
    ],
    [
      "a string of 2^60 bytes",
      { entries: [["k", TYPE.string, (out) => out.text("", huge)]] },
      "malformed",
      /length of "k" is 1152921504606846976/,
    ],
    ["2^60 strings", { entries: [array("k", TYPE.string, huge, () => {})] }, "malformed", /"k" is 11529/],
    [
      "2^61 float64",
      { entries: [array("k", TYPE.float64, 2n * huge, () => {})] },
      "malformed",
      /"k" is 23058/,
    ],
    ["2^60 arrays", { entries: [array("k", TYPE.array, huge, () => {})] }, "malformed", /"k" is 11529/],
    [
      "a string of 2^60 bytes in an array",
      { entries: [array("k", TYPE.string, 1, (out) => out.text("", huge))] },
      "malformed",
      /"k" ends past the end/,
    ],
    ["a bool of 2", { entries: [["k", TYPE.bool, (out) => out.raw([2])]] }, "malformed", /bool that is 2/],
    ["a bool of 255 in an array", bools(0, 1, 255), "malformed", /"b" has a bool that is 255/],
    ["arrays of 17 levels", nested(17), "too-large", /over 16 arrays deep/],
    [
      "an alignment that is no uint32",
      { entries: [uint16("general.alignment", 32)] },
      "malformed",
      /"general.alignment" is of type uint16/,
    ],
    ["an alignment of 0", { entries: [uint32("general.alignment", 0)] }, "malformed", /is 0, no power/],
    ["an alignment of 48", { entries: [uint32("general.alignment", 48)] }, "malformed", /is 48, no power/],
    ["an alignment of 2^31", { entries: [uint32("general.alignment", 2 ** 31)] }, "malformed", /no power/],
  ])("refuses %s", (_, spec, code, message) => {
    const error = formatError(() => parse(buildGguf(spec).bytes));
    expect(error).toMatchObject({ code, path: "x.gguf" });
    expect(error.message).toMatch(message);
  });

  const a = floats("a", 8);
  test.each<[string, BuiltFile, string, string, RegExp]>([
    ["a name twice", { tensors: [a, a] }, "duplicate", "a", /two tensors have that name/],
    [
      "five dimensions",
      { tensors: [{ ...a, dims: [8, 1, 1, 1, 1] }] },
      "malformed",
      "a",
      /5 dimensions, over four/,
    ],
    ["a dimension of 2^60", { tensors: [{ ...a, dims: [huge] }] }, "too-large", "a", /dimension of 115292/],
    [
      "a product of dimensions over 2^53",
      { tensors: [{ ...a, dims: [2 ** 30, 2 ** 30] }] },
      "too-large",
      "a",
      /shape is \[1073741824, 1073741824\]/,
    ],
    [
      "a product that is zero only at last",
      { tensors: [{ ...a, dims: [2 ** 30, 2 ** 30, 0] }] },
      "too-large",
      "a",
      /shape is/,
    ],
    [
      "more bytes than 2^53 bits",
      { tensors: [{ ...a, dims: [2 ** 50], type: 28 }] },
      "too-large",
      "a",
      /shape is/,
    ],
    [
      "rows that are not whole blocks",
      { tensors: [{ name: "q", dims: [33, 32], type: 8, size: 32 * 34 }] },
      "malformed",
      "q",
      /rows of 33 elements are no whole blocks of 32, as q8_0 has them/,
    ],
    [
      "a scalar of blocks",
      { tensors: [{ name: "q", dims: [], type: 2, size: 18 }] },
      "malformed",
      "q",
      /rows of 1 elements/,
    ],
    [
      "an offset that is not aligned",
      { tensors: [a, { ...floats("b", 1), offset: 36 }] },
      "malformed",
      "b",
      /byte 36 of the data, no multiple of the alignment 32/,
    ],
    [
      "a first tensor that is not at the start",
      { tensors: [{ ...a, offset: 32 }], data: 64 },
      "malformed",
      "a",
      /bytes 0 to 32 belong to no tensor/,
    ],
    [
      "a hole",
      { tensors: [a, { ...floats("b", 1), offset: 64 }], data: 100 },
      "malformed",
      "b",
      /bytes 32 to 64 belong to no tensor/,
    ],
    [
      "an overlap",
      { tensors: [floats("a", 9), { ...floats("b", 1), offset: 32 }], data: 100 },
      "malformed",
      "b",
      /inside or before tensor "a"/,
    ],
    [
      "two tensors at one place",
      { tensors: [a, { ...floats("b", 8), offset: 0 }] },
      "malformed",
      "b",
      /inside or before tensor "a"/,
    ],
    [
      "a tensor before one of an unknown type",
      {
        tensors: [a, { name: "u", dims: [8], type: 99, size: 32 }, { ...floats("b", 1), offset: 0 }],
      },
      "malformed",
      "b",
      /before tensor "u"/,
    ],
    [
      "an unknown type past the end",
      { tensors: [a, { name: "u", dims: [8], type: 99, size: 32 }], data: 31 },
      "size-mismatch",
      "a",
      /past the end/,
    ],
    [
      "an unknown type that starts past the end",
      { tensors: [floats("a", 1), { name: "u", dims: [8], type: 99, size: 32 }], data: 31 },
      "size-mismatch",
      "u",
      /past the end/,
    ],
    [
      "an unknown type of no bytes",
      { tensors: [{ name: "u", dims: [8], type: 99, size: 0 }, a] },
      "size-mismatch",
      "u",
      /no bytes are left/,
    ],
    [
      "an offset of 2^63",
      {
        tensors: [
          { name: "u", dims: [8], type: 99, size: 32 },
          { ...a, offset: 2n ** 63n },
        ],
      },
      "size-mismatch",
      "u",
      /past the end/,
    ],
    ["no data at all", { tensors: [a], data: 0 }, "size-mismatch", "a", /past the end/],
  ])("refuses tensors: %s", (_, spec, code, tensor, message) => {
    const error = formatError(() => parse(buildGguf(spec).bytes));
    expect(error).toMatchObject({ code, path: "x.gguf", tensor });
    expect(error.message).toMatch(message);
  });

  test("refuses a tensor whose name has a NUL, of which llama.cpp would see the first half", () => {
    const { bytes } = buildGguf({ tensors: [floats("a", 1), floats("a\0b", 1)] });
    expect(formatError(() => parse(bytes))).toMatchObject({
      code: "malformed",
      message: /tensor 1 has a NUL/,
    });
  });

  test("says where a tensor ends, where the file does, and what to do", () => {
    const { bytes } = buildGguf({ tensors: [floats("w", 16)], data: 63 });
    const start = bytes.length - 63;
    expect(formatError(() => parse(bytes))).toMatchObject({
      code: "size-mismatch",
      message: `Cannot read GGUF tensor "w" of "x.gguf": it ends at byte ${start + 64}, past the end of the file at ${start + 63}`,
      tensor: "w",
      offset: start,
      hint: expect.stringContaining("get it again"),
    });
  });

  test("refuses more entries and tensors than memory is meant for, however large the file", () => {
    const entries = buildGguf({ entryCount: 65_537 }).bytes;
    const tensors = buildGguf({ tensorCount: 262_145 }).bytes;
    for (const bytes of [entries, tensors]) {
      expect(formatError(() => parse(bytes, "x", 2 ** 40))).toMatchObject({ code: "too-large" });
    }
  });

  test("refuses a big-endian file of llama.cpp's package", () => {
    expect(formatError(() => parse(file("big-endian.gguf")))).toMatchObject({
      code: "unsupported",
      hint: expect.stringContaining("gguf_convert_endian"),
    });
  });
});

describe("tensorBytes() of block types", () => {
  test("is undefined where rows are not whole blocks", () => {
    expect(tensorBytes("q8_0", [2, 32])).toBe(68);
    expect(tensorBytes("q8_0", [32, 2])).toBeUndefined();
    expect(tensorBytes("q8_0", [])).toBeUndefined();
    expect(tensorBytes("q8_0", [3, 0])).toBe(0);
    expect(tensorBytes("q6_k", [1, 256])).toBe(210);
    expect(tensorBytes("q6_k", [1, 128])).toBeUndefined();
  });

  test("is exact up to 2^53 bits", () => {
    for (const [dtype, elements = 0] of Object.entries(BLOCK_ELEMENTS) as [DType, number][]) {
      const block = (elements * DTYPE_BITS[dtype]) / 8;
      expect(Number.isInteger(block)).toBe(true);
      const blocks = Math.floor(2 ** 50 / block) - 1;
      expect(BigInt(tensorBytes(dtype, [blocks, elements]) as number)).toBe(BigInt(blocks) * BigInt(block));
      expect(tensorBytes(dtype, [Math.ceil(2 ** 53 / block), elements])).toBeUndefined();
    }
  });
});
