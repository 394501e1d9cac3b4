import { describe, expect, test } from "vitest";
import { type ByteSource, memorySource } from "../../../src/io/byte-source.ts";
import { builtinResources, readBytecode } from "../../../src/formats/mlir/bytecode.ts";
import { MlirCursor } from "../../../src/formats/mlir/cursor.ts";
import { fileErrors } from "../../../src/errors.ts";
import { fillBytecode } from "../../../src/formats/mlir/fill-bytecode.ts";
import { piecesLength } from "../../../src/formats/mlir/piece.ts";
import { readMlir } from "../../../src/formats/mlir/read.ts";
import { detachableBlobs, thinBytecode } from "../../../src/formats/mlir/thin-bytecode.ts";
import { encodePrefixVarint } from "../../../src/formats/mlir/varint.ts";
import { countingSource } from "../../support/counting-source.ts";
import { mlirBytes, render } from "../../support/mlir.ts";
import { thrown } from "../../support/thrown.ts";
import { LONG } from "../../support/speed.ts";

const VERSIONS = [0, 1, 2, 3, 4, 5, 6];
const WHOLE = [...VERSIONS.map((version) => `small-${version}.mlirbc`), "base-19.mlirbc", "base-22.mlirbc"];

describe("encodePrefixVarint()", () => {
  test.each([
    0,
    1,
    127,
    128,
    16_383,
    16_384,
    2 ** 21,
    2 ** 35,
    2 ** 49 - 1,
    2 ** 49,
    Number.MAX_SAFE_INTEGER,
  ])("spells %d so that it is read again", (value) => {
    const bytes = encodePrefixVarint(value);
    const cursor = new MlirCursor(bytes, 0, fileErrors({ name: "x" }));
    expect(cursor.varint("it")).toBe(value);
    expect(cursor.left).toBe(0);
  });

  test("spells as LLVM does", () => {
    expect([...encodePrefixVarint(64)]).toEqual([0x81]);
    expect([...encodePrefixVarint(133)]).toEqual([0x16, 0x02]);
  });
});

describe("readBytecode()", () => {
  test.each(VERSIONS)("finds the resources of version %d", async (version) => {
    const bytes = mlirBytes(`small-${version}.mlirbc`);
    const file = await readBytecode(memorySource(bytes));
    expect(file).toMatchObject({ version, producer: "MLIR22.1.8" });
    expect(builtinResources(file).map(({ name, content }) => [name, content.kind])).toEqual([
      ["scale", "blob"],
      ["mask", "blob"],
      ["unused", "blob"],
      ["layer.0.shift", "blob"],
      ["nibbles", "blob"],
    ]);
    const blobs = detachableBlobs(file).map(({ key, alignment, offset, length }) => {
      return [key, alignment, Buffer.from(bytes.subarray(offset, offset + length)).toString("hex")];
    });
    // What fixtures/mlir/small.mlir says, less its four bytes of alignment.
    const text = new TextDecoder().decode(mlirBytes("small.mlir"));
    expect(blobs).toEqual(
      [...text.matchAll(/^ {6}([\w.]+): "0x([0-9A-F]{2})0{6}([0-9A-F]+)"/gm)]
        .slice(0, 5)
        .map(([, key, alignment, hex]) => [
          key,
          Number.parseInt(alignment as string, 16),
          hex?.toLowerCase(),
        ]),
    );
    const [other] = file.external;
    expect(other?.resources.map(({ name, content }) => [name, content])).toEqual([
      ["flag", { kind: "bool", value: 1 }],
      ["note", { kind: "string", index: expect.any(Number) }],
      ["data", { kind: "blob", alignment: 8, offset: expect.any(Number), length: 4 }],
    ]);
  });

  test("reads the sections in another order too, blobs last", async () => {
    const bytes = mlirBytes("base-22.mlirbc");
    const file = await readBytecode(memorySource(bytes));
    const order = [1, 3, 2, 4, 0, 8, 6, 5];
    const sections = order.map((id) => file.sections.find((each) => each.id === id));
    const moved = { ...file, sections: sections as typeof file.sections };
    const weights = new Map(detachableBlobs(file).map((blob) => [blob.key, blob]));
    const thin = render(thinBytecode(moved, { file: { version: 1 }, weights }), bytes);
    const read = await readBytecode(memorySource(thin));
    expect(read.sections.map((each) => each.id)).toEqual(order);
    expect(fillBytecode(read, weights).notes).toEqual([]);
  });

  test("reads a few kilobytes of a file of 5 GiB", async () => {
    const huge = await hugeSource();
    const source = countingSource(huge.source);
    const file = await readBytecode(source);
    expect(detachableBlobs(file).map(({ length }) => length)).toContain(huge.length);
    expect(source.size).toBeGreaterThan(5 * 2 ** 30);
    expect(source.bytes).toBeLessThan(8192);
  });

  test.each([
    ["no magic number", (bytes: Uint8Array) => bytes.fill(0, 0, 1), "malformed", /no MLIR bytecode/],
    ["a newer version", (bytes: Uint8Array) => bytes.fill(15, 4, 5), "newer-version", /version is 7, over 6/],
    ["an unknown section", (bytes: Uint8Array) => bytes.fill(9, 16, 17), "malformed", /section's id is 9/],
    ["a section twice", (bytes: Uint8Array) => bytes.fill(3, 16, 17), "duplicate", /two AttrTypeOffset/],
    [
      "a length of 2^60",
      (bytes: Uint8Array) => bytes.set([0, 0, 0, 0, 0, 0, 0, 0, 16], 17),
      "malformed",
      /is over/,
    ],
    [
      "a length past the end",
      (bytes: Uint8Array) => bytes.set([254, 255], 17),
      "malformed",
      /past the end at/,
    ],
  ])("refuses %s", async (_, damage, code, message) => {
    const bytes = mlirBytes("small-6.mlirbc");
    damage(bytes);
    const error = await thrown(readBytecode(memorySource(bytes, "x.mlirbc")));
    expect(error).toMatchObject({ code, path: "x.mlirbc", offset: expect.any(Number) });
    expect(error.message).toMatch(message);
  });

  test("refuses keys that stand twice, sums past the section, and odd heads of blobs", async () => {
    const bytes = mlirBytes("small-6.mlirbc");
    const file = await readBytecode(memorySource(bytes));
    const table = file.sections.find((each) => each.id === 6) as { offset: number; length: number };
    const resource = file.sections.find((each) => each.id === 5) as { offset: number; length: number };
    const keys = builtinResources(file).map((each) => each.key);
    const at = (key: number): number => bytes.indexOf(2 * key + 1, table.offset + 14);
    const damaged = async (place: number, value: number): Promise<unknown> => {
      const copy = bytes.slice();
      copy[place] = value;
      return thrown(readBytecode(memorySource(copy, "x.mlirbc")));
    };
    expect(await damaged(at(keys[1] as number), 2 * (keys[0] as number) + 1)).toMatchObject({
      code: "duplicate",
      tensor: "scale",
    });
    expect(await damaged(at(keys[1] as number) + 1, 255)).toMatchObject({
      code: "malformed",
      path: "x.mlirbc",
    });
    expect(await damaged(at(keys[0] as number) + 2, 3)).toMatchObject({
      message: expect.stringMatching(/kind/),
    });
    // Aligned to 1, so its head is right before it.
    const { key, offset } = detachableBlobs(file)[1] as { key: string; offset: number };
    const head = offset - 2;
    expect(head).toBeGreaterThan(resource.offset);
    expect(await damaged(head, 2 * 3 + 1)).toMatchObject({
      code: "malformed",
      tensor: key,
      offset: expect.any(Number),
    });
    expect(await damaged(head + 1, 2 * 2 + 1)).toMatchObject({ code: "size-mismatch", tensor: key });
  });
});

describe("readBytecode() of many groups", () => {
  /** A file of declared resources: `keys` are indices of strings, a group of one dialect each. */
  function grouped(
    strings: readonly string[],
    owners: readonly number[],
    keys: readonly number[],
  ): Uint8Array {
    const section = (id: number, ...parts: readonly Uint8Array[]): Uint8Array => {
      const data = Buffer.concat(parts);
      return Buffer.concat([Uint8Array.of(id), encodePrefixVarint(data.length), data]);
    };
    const spelled = strings.map((text) => Buffer.from(`${text}\0`));
    const lengths = spelled.map(({ length }) => encodePrefixVarint(length)).reverse();
    const groups = owners.map((owner, nth) => {
      const key = keys[nth];
      const entry = key === undefined ? [] : [...encodePrefixVarint(key), ...encodePrefixVarint(0), 0];
      return Uint8Array.of(
        ...encodePrefixVarint(owner),
        ...encodePrefixVarint(key === undefined ? 0 : 1),
        ...entry,
      );
    });
    const dialects = owners.map((owner) => encodePrefixVarint(2 * owner));
    return new Uint8Array(
      Buffer.concat([
        Uint8Array.of(0x4d, 0x4c, 0xef, 0x52, ...encodePrefixVarint(4), 0),
        section(1, encodePrefixVarint(dialects.length), Buffer.concat(dialects)),
        ...[3, 2, 4].map((id) => section(id)),
        section(6, encodePrefixVarint(0), Buffer.concat(groups)),
        section(5),
        section(0, encodePrefixVarint(spelled.length), ...lengths, ...spelled),
      ]),
    );
  }

  test("holds a long name once, however many groups have it", async () => {
    const owners = Array.from({ length: 30_000 }, (_, nth) => nth);
    const strings = [...owners.map((nth) => `d${nth}`), "k".repeat(1_000_000)];
    const bytes = grouped(
      strings,
      owners,
      owners.map(() => owners.length),
    );
    const { dialects } = await readBytecode(memorySource(bytes, "x.mlirbc"));
    expect(dialects.length).toBe(30_000);
    expect(dialects.every(({ resources }) => resources[0]?.name.length === 1_000_000)).toBe(true);
  });

  test("refuses two groups of one name, and more than memory is for", LONG, async () => {
    const twice = grouped(["a", "b", "a"], [0, 1, 2], []);
    const error = await thrown(readBytecode(memorySource(twice, "x.mlirbc")));
    expect(error).toMatchObject({ code: "duplicate", path: "x.mlirbc" });
    const many = grouped(
      ["a"],
      Array.from({ length: 500_001 }, () => 0),
      [],
    );
    expect(await thrown(readBytecode(memorySource(many, "x.mlirbc")))).toMatchObject({ code: "too-large" });
  });
});

describe("thinBytecode() and fillBytecode()", () => {
  test.each(WHOLE)("give %s back byte for byte", async (name) => {
    const bytes = mlirBytes(name);
    const file = await readBytecode(memorySource(bytes));
    const blobs = detachableBlobs(file);
    const layouts = new Map(blobs.map((blob) => [blob.key, blob]));
    const thin = render(thinBytecode(file, { file: { version: 1 }, weights: layouts }), bytes);
    const read = await readBytecode(memorySource(thin));
    expect(builtinResources(read).every(({ content }) => content.kind === "declared")).toBe(true);
    const data = new Map(
      blobs.map((blob) => [blob.key, bytes.slice(blob.offset, blob.offset + blob.length)]),
    );
    const { pieces, notes } = fillBytecode(read, layouts);
    expect(Buffer.from(render(pieces, thin, data)).equals(bytes)).toBe(true);
    expect(notes).toEqual([]);
  });

  test("align no more than readers do: 16 in a small file, and never a size of whole pages", async () => {
    const bytes = mlirBytes("thin-22.mlirbc");
    const thin = await readBytecode(memorySource(bytes));
    const layOut = (length: number): ReturnType<typeof fillBytecode> =>
      fillBytecode(thin, new Map([["large", { alignment: 64, length }]]));
    const small = layOut(100);
    expect(small.notes).toEqual([expect.stringMatching(/aligned to 16, not to 64/)]);
    const data = new Map([["large", new Uint8Array(100)]]);
    const [blob] = detachableBlobs(await readBytecode(memorySource(render(small.pieces, bytes, data))));
    expect(blob).toMatchObject({ key: "large", alignment: 16, length: 100 });
    const spare = 20_480 - piecesLength(layOut(20_000).pieces);
    const whole = layOut(20_000 + spare);
    expect(piecesLength(whole.pieces) % 4096).not.toBe(0);
    expect(whole.notes).toEqual([expect.stringMatching(/whole pages/)]);
    expect(layOut(20_000).notes).toEqual([]);
  });
});

describe("readMlir()", () => {
  test("reads each file as a method, each blob as a weight", async () => {
    const source = memorySource(mlirBytes("base-22.mlirbc"), "base-22.mlirbc");
    const folder = { open: async () => undefined };
    const { format, methods } = await readMlir([{ path: "base-22.mlirbc", source }], folder);
    expect(format).toBe("mlir");
    expect(methods).toMatchObject([{ name: "base-22", file: 0, weights: { length: 6 } }]);
    const large = methods[0]?.weights.find((weight) => weight.name === "large");
    expect(large).toMatchObject({ dtype: "uint8", shape: [16_640], at: { length: 16_640 } });
  });
});

/** A file with one blob of 5 GiB, of which only what is asked for is made. */
async function hugeSource(): Promise<{ source: ByteSource; length: number }> {
  const length = 5 * 2 ** 30;
  const thinBytes = mlirBytes("thin-22.mlirbc");
  const thin = await readBytecode(memorySource(thinBytes));
  const { pieces } = fillBytecode(thin, new Map([["large", { alignment: 64, length }]]));
  const nth = pieces.findIndex((piece) => piece.kind === "weight");
  const before = render(pieces.slice(0, nth), thinBytes);
  const after = render(pieces.slice(nth + 1), thinBytes);
  const size = before.length + length + after.length;
  const byteAt = (at: number): number =>
    (at < before.length
      ? before[at]
      : at < size - after.length
        ? 0
        : after[at - size + after.length]) as number;
  return {
    length,
    source: {
      name: "huge.mlirbc",
      size,
      read: async (offset, count) => Uint8Array.from({ length: count }, (_, index) => byteAt(offset + index)),
    },
  };
}
