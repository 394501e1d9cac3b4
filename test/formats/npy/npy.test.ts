import { readdirSync, readFileSync } from "node:fs";
import fc from "fast-check";
import { deflateSync, strToU8, zipSync } from "fflate";
import { describe, expect, test } from "vitest";
import { FormatError } from "../../../src/errors.ts";
import { parseNpz, writeNpz } from "../../../src/formats/npy/npz.ts";
import { parseNpy } from "../../../src/formats/npy/parse.ts";
import { writeNpy } from "../../../src/formats/npy/write.ts";
import { type DType, DTYPE_BITS } from "../../../src/tensor/dtype.ts";
import type { Tensor } from "../../../src/tensor/tensor.ts";
import { formatError } from "../../support/format-error.ts";
import { SAMPLED, offsets } from "../../support/speed.ts";

type Described = { dtype: string; shape: number[]; bytes?: string; strings?: string[] };

const FOLDER = new URL("../../../fixtures/numpy/", import.meta.url);
const file = (name: string): Uint8Array => new Uint8Array(readFileSync(new URL(name, FOLDER)));
const EXPECTED: Record<string, Described | [string, Described][]> = Object.fromEntries(
  readFileSync(new URL("expected.jsonl", FOLDER), "utf8")
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line)),
);
const ARRAYS = Object.entries(EXPECTED).filter(
  (entry): entry is [string, Described] => !Array.isArray(entry[1]),
);
const ARCHIVES = Object.entries(EXPECTED).filter((entry): entry is [string, [string, Described][]] =>
  Array.isArray(entry[1]),
);

function describeTensor(tensor: Tensor): Described {
  return tensor.dtype === "string"
    ? { dtype: tensor.dtype, shape: [...tensor.shape], strings: [...tensor.strings] }
    : { dtype: tensor.dtype, shape: [...tensor.shape], bytes: Buffer.from(tensor.bytes).toString("hex") };
}

/** A .npy file of any header and data. */
function npy(dict: string, data: Uint8Array = new Uint8Array(0), version: 1 | 2 | 3 = 1): Uint8Array {
  const header = new TextEncoder().encode(dict);
  const prefix = version === 1 ? 10 : 12;
  const bytes = new Uint8Array(prefix + header.length + data.length);
  bytes.set([0x93, ...strToU8("NUMPY"), version, 0]);
  new DataView(bytes.buffer).setUint16(8, header.length, true);
  bytes.set(header, prefix);
  bytes.set(data, prefix + header.length);
  return bytes;
}

const dict = (descr: string, shape: string, fortran = "False"): string =>
  `{'descr': '${descr}', 'fortran_order': ${fortran}, 'shape': ${shape}, }\n`;

const NPY_DTYPES =
  "bool int8 uint8 int16 uint16 int32 uint32 int64 uint64 float16 float32 float64 complex64 complex128";
const numbers = fc
  .tuple(fc.constantFrom(...(NPY_DTYPES.split(" ") as DType[])), fc.array(fc.nat(4), { maxLength: 5 }))
  .chain(([dtype, shape]) => {
    const length = (shape.reduce((a, b) => a * b, 1) * DTYPE_BITS[dtype]) / 8;
    return fc
      .uint8Array({ minLength: length, maxLength: length })
      .map((bytes): Tensor => ({ dtype, shape, bytes }));
  });
const strings = fc.tuple(fc.nat(4), fc.nat(3)).chain(([rows, columns]) =>
  fc
    .array(
      fc.string({ unit: "binary" }).filter((text) => !text.endsWith("\0")),
      { minLength: rows * columns, maxLength: rows * columns },
    )
    .map((list): Tensor => ({ dtype: "string", shape: [rows, columns], strings: list })),
);
const anyTensor = fc.oneof(numbers, strings);

describe("parseNpy()", () => {
  test.each(ARRAYS)("reads what NumPy wrote: %s", (name, expected) => {
    expect(describeTensor(parseNpy(file(name), name))).toEqual(expected);
  });

  test("reads every golden file there is", () => {
    const golden = readdirSync(FOLDER).filter(
      (name) => /\.np[yz]$/.test(name) && !name.startsWith("refused"),
    );
    expect(golden.sort()).toEqual(Object.keys(EXPECTED).sort());
  });

  test("gives a view where nothing needs to move, at any alignment", () => {
    const golden = file("f4.npy");
    const shifted = new Uint8Array(golden.length + 3).subarray(3);
    shifted.set(golden);
    const tensor = parseNpy(shifted, "x");
    expect(describeTensor(tensor)).toEqual(EXPECTED["f4.npy"]);
    expect((tensor as { bytes: Uint8Array }).bytes.buffer).toBe(shifted.buffer);
  });

  test("leaves the caller's bytes as they are", () => {
    for (const name of ["fortran-big-i4.npy", "big-c8.npy", "strings-big.npy"]) {
      const bytes = file(name);
      parseNpy(bytes, name);
      expect(bytes).toEqual(file(name));
    }
  });

  test.each([
    ["refused-object.npy", "unsupported", "run code"],
    ["refused-structure.npy", "unsupported", undefined],
    ["refused-bytes.npy", "unsupported", "astype(str)"],
    ["refused-date.npy", "unsupported", "int64"],
  ])("refuses %s", (name, code, hint) => {
    const error = formatError(() => parseNpy(file(name), name));
    expect(error).toMatchObject({ code, path: name });
    if (hint) expect(error.hint).toContain(hint);
  });

  test("reads the bfloat16 of ml_dtypes, and no other two bytes", () => {
    const bytes = new Uint8Array(
      readFileSync(new URL("../../../fixtures/loose/bfloat16.npy", import.meta.url)),
    );
    expect(parseNpy(bytes, "w")).toEqual({
      dtype: "bfloat16",
      shape: [2],
      bytes: Uint8Array.of(0x80, 0x3f, 0x80, 0x3f),
    });
    const plain = Uint8Array.from(bytes);
    plain[plain.indexOf("<".charCodeAt(0))] = "|".charCodeAt(0);
    expect(formatError(() => parseNpy(plain, "w"))).toMatchObject({ code: "unsupported" });
  });

  test.each(ARRAYS)("refuses %s cut off anywhere", SAMPLED, (name) => {
    const bytes = file(name);
    for (const end of offsets(bytes.length)) {
      const error = formatError(() => parseNpy(bytes.slice(0, end), name));
      expect(["unknown-format", "malformed", "size-mismatch"]).toContain(error.code);
      expect(error.offset).toBeLessThanOrEqual(end);
    }
  });

  test("refuses bytes after the array", () => {
    const error = formatError(() => parseNpy(Uint8Array.of(...file("scalar.npy"), 0), "scalar.npy"));
    expect(error).toMatchObject({ code: "size-mismatch", offset: 128 });
    expect(error.message).toBe('Cannot read "scalar.npy": [] <f4 takes 4 bytes, 5 are there');
  });

  test.each<[string, string, string]>([
    ["a dictionary cut off", "{'descr': '<f4', 'fortran_order': False, 'shape': (", "malformed"],
    ["no dictionary", "[]", "malformed"],
    [
      "a key that stands twice",
      "{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (), }",
      "malformed",
    ],
    ["an unknown key", "{'descr': '<f4', 'fortran_order': False, 'shape': (), 'x': 1}", "malformed"],
    ["no shape", "{'descr': '<f4', 'fortran_order': False, }", "malformed"],
    ["a shape that is a number", dict("<f4", "(1)"), "malformed"],
    ["a negative dimension", dict("<f4", "(-1,)"), "malformed"],
    ["a comma alone", dict("<f4", "(,)"), "malformed"],
    ["no comma between dimensions", dict("<f4", "(1 2,)"), "malformed"],
    ["a leading zero", dict("<f4", "(01,)"), "malformed"],
    ["keys without a comma between", "{'descr': '<f4' 'fortran_order': False, 'shape': (), }", "malformed"],
    ["quotes that do not match", "{'descr\": '<f4', 'fortran_order': False, 'shape': (), }", "malformed"],
    ["text after the dictionary", `${dict("<f4", "()")}x`, "malformed"],
    ["a dimension over 2^53", dict("<f4", "(9007199254740993,)"), "too-large"],
    ["a product over 2^53", dict("<f4", "(4294967296, 4294967296)"), "too-large"],
    ["65 dimensions", dict("<f4", `(${"1,".repeat(65)})`), "too-large"],
    ["native byte order", dict("=f4", "()"), "unsupported"],
    ["no byte order", dict("|f4", "()"), "unsupported"],
    ["a type code of NumPy's other kind", dict("<f", "()"), "unsupported"],
    ["a 128-bit float", dict("<f16", "()"), "unsupported"],
    ["a shape of more than there is", dict("<f4", "(1000000000000,)"), "size-mismatch"],
    ["a billion strings of nothing", dict("<U0", "(1000000000,)"), "too-large"],
  ])("refuses %s", (_, header, code) => {
    expect(formatError(() => parseNpy(npy(header), "x.npy"))).toMatchObject({ code, path: "x.npy" });
  });

  test("accepts what other writers do: keys in another order, other quotes, Python 2's long numbers", () => {
    const header = `{"shape": (2L, 1L), "fortran_order": False, "descr": "|u1"}`;
    expect(parseNpy(npy(header, Uint8Array.of(7, 8)), "x")).toEqual({
      dtype: "uint8",
      shape: [2, 1],
      bytes: Uint8Array.of(7, 8),
    });
  });

  test("refuses other versions", () => {
    const bytes = npy(dict("|u1", "()"), Uint8Array.of(1));
    bytes[6] = 4;
    expect(formatError(() => parseNpy(bytes, "x"))).toMatchObject({ code: "unsupported", offset: 6 });
    bytes.set([1, 1], 6);
    expect(formatError(() => parseNpy(bytes, "x"))).toMatchObject({ code: "unsupported", offset: 6 });
  });

  test("refuses a header of megabytes before it looks at it", () => {
    const bytes = npy(dict("|u1", "()"), Uint8Array.of(1), 2);
    new DataView(bytes.buffer).setUint32(8, 2 ** 31, true);
    expect(formatError(() => parseNpy(bytes, "x"))).toMatchObject({ code: "too-large" });
  });

  test.each([0x110000, 0xd800, 0xdfff, 0xffffffff])("refuses the character %i", (code) => {
    const data = new Uint8Array(8);
    new DataView(data.buffer).setUint32(4, code, true);
    const header = dict("<U2", "()");
    expect(formatError(() => parseNpy(npy(header, data), "x"))).toMatchObject({
      code: "malformed",
      offset: 10 + header.length + 4,
    });
  });
});

describe("writeNpy()", () => {
  test.each(ARRAYS.map(([name]) => name).filter((name) => !/big|fortran|version|strings-empty/.test(name)))(
    "gives NumPy's %s back byte for byte",
    (name) => {
      expect(writeNpy(parseNpy(file(name), name))).toEqual(file(name));
    },
  );

  test("writes what parseNpy() reads back", () => {
    fc.assert(
      fc.property(anyTensor, (tensor) => {
        expect(parseNpy(writeNpy(tensor), "x")).toEqual(tensor);
      }),
    );
  });

  test.each<[DType, string]>([
    ["bfloat16", "safetensors"],
    ["float8_e4m3fn", "safetensors"],
    ["int4", "int8"],
    ["uint2", "uint8"],
  ])("refuses %s and says what to do", (dtype, hint) => {
    const error = formatError(() => writeNpy({ dtype, shape: [0], bytes: new Uint8Array(0) }, "w"));
    expect(error).toMatchObject({ code: "unsupported", tensor: "w" });
    expect(error.message).toBe(`Cannot write tensor "w" as .npy: NumPy has no ${dtype}`);
    expect(error.hint).toContain(hint);
  });

  test("refuses strings that NumPy would not give back", () => {
    for (const text of ["a\0", "\ud83d"]) {
      const error = formatError(() => writeNpy({ dtype: "string", shape: [1], strings: [text] }));
      expect(error).toMatchObject({ code: "unsupported" });
    }
  });

  test("refuses one long string among many", () => {
    const list = Array.from({ length: 70_000 }, () => "");
    list[0] = "x".repeat(70_000);
    expect(formatError(() => writeNpy({ dtype: "string", shape: [70_000], strings: list }))).toMatchObject({
      code: "too-large",
    });
  });

  test("refuses data of another size than the shape's", () => {
    const bytes = new Uint8Array(7);
    expect(formatError(() => writeNpy({ dtype: "float32", shape: [2], bytes }))).toMatchObject({
      code: "size-mismatch",
    });
    expect(formatError(() => writeNpy({ dtype: "string", shape: [2], strings: [] }))).toMatchObject({
      code: "size-mismatch",
    });
  });
});

describe("parseNpz()", () => {
  test.each(ARCHIVES)("reads what NumPy wrote: %s", (name, expected) => {
    const tensors = parseNpz(file(name), name);
    expect(Object.getPrototypeOf(tensors)).toBe(Object.prototype);
    expect(Object.entries(tensors).map(([key, tensor]) => [key, describeTensor(tensor)])).toEqual(expected);
  });

  test.each(ARCHIVES)("refuses %s cut off anywhere", SAMPLED, (name) => {
    const bytes = file(name);
    for (const end of offsets(bytes.length)) {
      expect(formatError(() => parseNpz(bytes.slice(0, end), name)).code).toBe("unknown-format");
    }
  });

  test.each(ARCHIVES)("reads %s right or refuses it, whatever byte is changed", SAMPLED, (name, expected) => {
    const bytes = file(name);
    for (const at of offsets(bytes.length)) {
      const changed = bytes.slice();
      changed[at] = (changed[at] as number) ^ 0x41;
      try {
        const read = Object.entries(parseNpz(changed, name));
        // Dates, versions and names in local headers do not matter, and a name may have changed in the directory.
        expect(read.map(([, tensor]) => describeTensor(tensor))).toEqual(
          expected.map(([, tensor]) => tensor),
        );
      } catch (error) {
        if (!(error instanceof FormatError)) throw error;
      }
    }
  });

  test("says where in the archive a tensor is wrong", () => {
    const bad = npy(dict("<f4", "(3,)"), new Uint8Array(4));
    const bytes = zipSync({ "dir/w.npy": bad }, { level: 0 });
    const error = formatError(() => parseNpz(bytes, "x.npz"));
    expect(error.message).toBe('Cannot read tensor "dir/w" of "x.npz": [3] <f4 takes 12 bytes, 4 are there');
    expect(error).toMatchObject({ code: "size-mismatch", path: "x.npz", tensor: "dir/w" });
    expect(error.offset).toBe(30 + "dir/w.npy".length + bad.length - 4);
  });

  test("refuses an entry that is no array", () => {
    const bytes = zipSync({ "readme.txt": strToU8("x") });
    expect(formatError(() => parseNpz(bytes, "x.npz"))).toMatchObject({ code: "malformed", path: "x.npz" });
  });

  test("refuses a name that stands twice", () => {
    const bytes = zipSync({ "a.npy": file("i4.npy"), "b.npy": file("i4.npy") }, { level: 0 });
    const second = Buffer.from(bytes).lastIndexOf("b.npy");
    bytes.set(strToU8("a.npy"), second);
    expect(formatError(() => parseNpz(bytes, "x"))).toMatchObject({ code: "duplicate" });
  });

  test("refuses an encrypted entry, another method, archives in parts, and sizes that are nowhere", () => {
    const whole = zipSync({ "a.npy": file("i4.npy") }, { level: 0 });
    const central = Buffer.from(whole).indexOf(Uint8Array.of(0x50, 0x4b, 1, 2));
    const end = whole.length - 22;
    for (const [code, at, ...values] of [
      ["unsupported", central + 8, 1],
      ["unsupported", central + 10, 12],
      ["malformed", central + 20, 255, 255, 255, 255],
      ["unsupported", end + 4, 1],
      ["malformed", end + 8, 0xff, 0xff, 0xff, 0xff],
    ] as const) {
      const changed = whole.slice();
      changed.set(values, at);
      expect(formatError(() => parseNpz(changed, "x"))).toMatchObject({ code });
    }
  });

  test("refuses a bomb before it unpacks anything", () => {
    // One small deflated block of zeros that many entries name, each within what deflate can do. Their checksum
    // is wrong: unpacking any of them would be another error.
    const zeros = deflateSync(new Uint8Array(16 * 2 ** 20), { level: 9 });
    const bytes = zipOf(zeros, 16 * 2 ** 20, 129);
    const error = formatError(() => parseNpz(bytes, "bomb.npz"));
    expect(error).toMatchObject({ code: "too-large", path: "bomb.npz" });
  });

  test("refuses entries over one another before it unpacks anything", () => {
    // As many as fit 2 GiB: each would be unpacked, all from the same few kilobytes.
    const zeros = deflateSync(new Uint8Array(16 * 2 ** 20), { level: 9 });
    const error = formatError(() => parseNpz(zipOf(zeros, 16 * 2 ** 20, 128), "bomb.npz"));
    expect(error).toMatchObject({ code: "malformed", path: "bomb.npz" });
    expect(error.message).toContain('"1.npy" overlaps another entry');
  });

  test("refuses sizes that no deflate can reach, and those that are not the true ones", () => {
    const array = file("strings.npy");
    const packed = deflateSync(array);
    for (const size of [2 ** 30, 0, array.length - 1, array.length + 1]) {
      expect(formatError(() => parseNpz(zipOf(packed, size, 1), "x"))).toMatchObject({ code: "malformed" });
    }
    expect(formatError(() => parseNpz(zipOf(packed, array.length, 1), "x"))).toMatchObject({
      code: "corrupted",
    });
  });
});

describe("writeNpz()", () => {
  test("writes what parseNpz() reads back, the same bytes each time", () => {
    const key = fc.oneof(
      fc.string(),
      fc.constantFrom("__proto__", "a/b", "../x", "größe", "0", "constructor"),
    );
    fc.assert(
      fc.property(fc.array(fc.tuple(key, anyTensor), { maxLength: 5 }), (entries) => {
        const tensors: Record<string, Tensor> = Object.fromEntries(entries);
        const bytes = writeNpz(tensors);
        expect(Object.entries(parseNpz(bytes, "x")).sort()).toEqual(Object.entries(tensors).sort());
        expect(writeNpz(tensors)).toEqual(bytes);
      }),
    );
  });

  test("writes what numpy.savez writes, byte for byte", () => {
    const bytes = file("native.npz");
    expect(Buffer.from(writeNpz(parseNpz(bytes, "native.npz"))).equals(bytes)).toBe(true);
  });

  test("refuses names that zip cannot hold, and those that NumPy would take for each other", () => {
    const tensor: Tensor = { dtype: "bool", shape: [0], bytes: new Uint8Array(0) };
    for (const name of ["x".repeat(65_532), "ü".repeat(32_766), "a\0b"]) {
      expect(formatError(() => writeNpz({ [name]: tensor }))).toMatchObject({
        code: "bad-name",
        tensor: name,
      });
    }
    expect(formatError(() => writeNpz({ "a.npy": tensor, a: tensor }))).toMatchObject({
      code: "duplicate",
      message: 'Cannot write tensor "a" as .npz: NumPy could not tell it from "a.npy"',
    });
    const tensors = { "a.npy": tensor, "": tensor, "/": tensor, ".npy": tensor, "b/../c": tensor };
    const { "": _, ...apart } = tensors;
    expect(parseNpz(writeNpz(apart), "x")).toEqual(apart);
    expect(formatError(() => writeNpz(tensors))).toMatchObject({ code: "duplicate", tensor: "" });
  });
});

/** An archive whose entries all lie in the same bytes; the checksum is 0. */
function zipOf(packed: Uint8Array, size: number, count: number): Uint8Array {
  const entry = (signature: number, length: number, name: string): Uint8Array => {
    const record = new Uint8Array(length + name.length);
    const view = new DataView(record.buffer);
    view.setUint32(0, signature, true);
    if (length === 46) {
      view.setUint16(10, 8, true);
      view.setUint32(20, packed.length, true);
      view.setUint32(24, size, true);
      view.setUint16(28, name.length, true);
    }
    record.set(strToU8(name), length);
    return record;
  };
  const local = entry(0x04034b50, 30, "");
  const directory = Array.from({ length: count }, (_, index) => entry(0x02014b50, 46, `${index}.npy`));
  const end = entry(0x06054b50, 22, "");
  const view = new DataView(end.buffer);
  view.setUint16(8, count, true);
  view.setUint16(10, count, true);
  view.setUint32(
    12,
    directory.reduce((sum, part) => sum + part.length, 0),
    true,
  );
  view.setUint32(16, local.length + packed.length, true);
  return new Uint8Array(Buffer.concat([local, packed, ...directory, end]));
}
