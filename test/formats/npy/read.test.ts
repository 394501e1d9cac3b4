import { readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { zipSync } from "fflate";
import { describe, expect, test } from "vitest";
import { memorySource } from "../../../src/io/byte-source.ts";
import { writeNpz, parseNpz } from "../../../src/formats/npy/npz.ts";
import { readNumpy } from "../../../src/formats/npy/read.ts";
import { openStore } from "../../../src/tare-store.ts";
import type { ModelDraft } from "../../../src/model/draft.ts";
import { countingSource } from "../../support/counting-source.ts";
import { LONG } from "../../support/speed.ts";
import { temporaryFolder } from "../../support/temporary.ts";

const FIXTURES = fileURLToPath(new URL("../../../fixtures/numpy", import.meta.url));
const FOLDER = { open: async () => undefined };

function read(path: string, bytes: Uint8Array): Promise<ModelDraft> {
  return readNumpy([{ path, source: memorySource(bytes, path) }], FOLDER);
}

describe("readNumpy()", () => {
  test("finds the arrays that NumPy stored, where parseNpz() finds them", async () => {
    const bytes = new Uint8Array(await readFile(join(FIXTURES, "stored.npz")));
    const tensors = parseNpz(bytes, "stored.npz");
    const { methods, notes = [] } = await read("stored.npz", bytes);
    const weights = methods[0]?.weights ?? [];
    expect(weights.length + notes.length).toBe(Object.keys(tensors).length);
    expect(weights.length).toBeGreaterThan(0);
    for (const { name, dtype, shape, at } of weights) {
      expect(tensors[name]).toEqual({
        dtype,
        shape,
        bytes: bytes.subarray(at.offset, at.offset + at.length),
      });
    }
  });

  test("reads archives over 4 GiB, as far as their headers say", async () => {
    // What zip64 looks like: an entry whose sizes and place stand in the extra field, and the end record before the end.
    const plain = writeNpz({ w: { dtype: "float32", shape: [4], bytes: new Uint8Array(16).fill(7) } });
    const zip64 = asZip64(plain);
    const { methods } = await read("large.npz", zip64);
    expect(methods[0]?.weights).toMatchObject([
      { name: "w", dtype: "float32", shape: [4], at: { length: 16 } },
    ]);
    const at = methods[0]?.weights[0]?.at.offset ?? 0;
    expect(zip64.subarray(at, at + 16)).toEqual(new Uint8Array(16).fill(7));
  });

  test("leaves to the file what does not lie there as it is used, and says so", async () => {
    const deflated = new Uint8Array(await readFile(join(FIXTURES, "deflated.npz")));
    const { methods, notes } = await read("deflated.npz", deflated);
    expect(methods[0]?.weights).toEqual([]);
    expect(notes?.[0]).toMatch(/is compressed: kept as plain bytes$/);
    for (const [file, reason] of [
      ["big-f4.npy", "big-endian"],
      ["fortran-f4.npy", "column-major"],
      ["strings.npy", "of strings"],
    ] as const) {
      expect((await read(file, new Uint8Array(await readFile(join(FIXTURES, file))))).notes).toEqual([
        `Array "${file.slice(0, -4)}" is ${reason}: kept as plain bytes`,
      ]);
    }
  });

  test("refuses data that overlaps", async () => {
    const twice = Buffer.from(writeNpz({ a: one(), b: one() }));
    const central = twice.indexOf(Uint8Array.of(0x50, 0x4b, 1, 2));
    const second = twice.indexOf(Uint8Array.of(0x50, 0x4b, 1, 2), central + 4);
    twice.copy(twice, second + 42, central + 42, central + 46);
    await expect(read("x.npz", twice)).rejects.toMatchObject({ code: "malformed" });
  });
});

describe("readNumpy() of large directories", () => {
  const [LOCAL, CENTRAL, NAME] = [30, 46, 7];

  /** An archive of empty files, which lie where they are said to. */
  function entries(count: number, place: (nth: number) => number): Uint8Array {
    const start = count * (LOCAL + NAME);
    const size = count * (CENTRAL + NAME);
    const bytes = new Uint8Array(start + size + 76 + 22);
    const view = new DataView(bytes.buffer);
    const set = (at: number, value: number): void => view.setUint32(at, value, true);
    for (let nth = 0; nth < count; nth++) {
      const [local, central] = [nth * (LOCAL + NAME), start + nth * (CENTRAL + NAME)];
      set(local, 0x04034b50);
      set(local + 26, NAME);
      set(central, 0x02014b50);
      set(central + 28, NAME);
      set(central + 42, place(nth));
      for (let digit = 0, rest = nth; digit < NAME; digit++, rest = Math.floor(rest / 10)) {
        bytes[central + CENTRAL + digit] = 0x30 + (rest % 10);
      }
    }
    const end = start + size;
    set(end, 0x06064b50);
    set(end + 4, 44);
    for (const [at, value] of [
      [24, count],
      [32, count],
      [40, size],
      [48, start],
    ] as const)
      set(end + at, value);
    set(end + 56, 0x07064b50);
    set(end + 64, end);
    set(end + 76, 0x06054b50);
    for (const at of [8, 12, 16]) set(end + 76 + at, 0xffffffff);
    return bytes;
  }

  test("reads no more than the file has", async () => {
    const bytes = entries(100_000, (nth) => nth * (LOCAL + NAME));
    const source = countingSource(memorySource(bytes, "x.npz"));
    const { notes, methods } = await readNumpy([{ path: "x.npz", source }], FOLDER);
    expect([notes?.length, methods[0]?.weights.length]).toEqual([100_000, 0]);
    expect(source.bytes).toBeLessThan(bytes.length + 200_000);
  });

  test("refuses a million entries that are all one, before it reads any", LONG, async () => {
    const bytes = entries(1_000_000, () => 0);
    const source = countingSource(memorySource(bytes, "x.npz"));
    await expect(readNumpy([{ path: "x.npz", source }], FOLDER)).rejects.toMatchObject({ code: "malformed" });
    expect(source.reads).toHaveLength(2);
  });
});

describe("NumPy files in a store", () => {
  test("come back byte for byte; arrays that are alike are stored once", async () => {
    const folder = await temporaryFolder();
    const store = await openStore({ path: join(folder, "store") });
    const large = new Uint8Array(64 * 1024).fill(3);
    const shared = { dtype: "uint8", shape: [large.byteLength], bytes: large } as const;
    await writeFile(join(folder, "one.npz"), writeNpz({ shared, own: one() }));
    await writeFile(join(folder, "two.npz"), writeNpz({ other: one(), again: shared }));
    await store.add([join(folder, "one.npz")]);
    expect((await store.add([join(folder, "two.npz")])).newBytes).toBeLessThan(4096);
    for (const name of ["one", "two"]) {
      await store.export(name, join(folder, `${name}-out.npz`));
      const [a, b] = await Promise.all(
        [`${name}.npz`, `${name}-out.npz`].map((each) => readFile(join(folder, each))),
      );
      expect(a?.equals(b as Buffer)).toBe(true);
    }
    for (const name of (await readdir(FIXTURES)).filter((each) =>
      /^(stored|deflated|f4|scalar)\.np[yz]$/.test(each),
    )) {
      await store.add([join(FIXTURES, name)], { as: name });
      await store.export(name, join(folder, name));
      expect((await readFile(join(folder, name))).equals(await readFile(join(FIXTURES, name)))).toBe(true);
    }
    expect((await store.verify({ full: true })).problems).toEqual([]);
  });
});

function one(): { dtype: "float32"; shape: number[]; bytes: Uint8Array } {
  return { dtype: "float32", shape: [2], bytes: new Uint8Array(8).fill(1) };
}

/** Moves the numbers of an archive of one entry to where archives over 4 GiB have them. */
function asZip64(plain: Uint8Array): Uint8Array {
  const view = new DataView(plain.buffer, plain.byteOffset, plain.byteLength);
  const end = plain.byteLength - 22;
  const offset = view.getUint32(end + 16, true);
  const central = Buffer.from(plain.subarray(offset, end));
  const extra = Buffer.alloc(28);
  extra.writeUInt16LE(1, 0);
  extra.writeUInt16LE(24, 2);
  extra.writeBigUInt64LE(BigInt(central.readUInt32LE(24)), 4);
  extra.writeBigUInt64LE(BigInt(central.readUInt32LE(20)), 12);
  extra.writeBigUInt64LE(BigInt(central.readUInt32LE(42)), 20);
  for (const at of [20, 24, 42]) central.writeUInt32LE(0xffffffff, at);
  central.writeUInt16LE(28, 30);
  const directory = Buffer.concat([central, extra]);
  const end64 = Buffer.alloc(56);
  end64.writeUInt32LE(0x06064b50, 0);
  end64.writeBigUInt64LE(44n, 4);
  end64.writeBigUInt64LE(1n, 24);
  end64.writeBigUInt64LE(1n, 32);
  end64.writeBigUInt64LE(BigInt(directory.byteLength), 40);
  end64.writeBigUInt64LE(BigInt(offset), 48);
  const locator = Buffer.alloc(20);
  locator.writeUInt32LE(0x07064b50, 0);
  locator.writeBigUInt64LE(BigInt(offset + directory.byteLength), 8);
  locator.writeUInt32LE(1, 16);
  const last = Buffer.from(plain.subarray(end));
  last.writeUInt32LE(0xffffffff, 12);
  last.writeUInt32LE(0xffffffff, 16);
  return new Uint8Array(Buffer.concat([plain.subarray(0, offset), directory, end64, locator, last]));
}

// So that an archive of nothing is one too.
test("readNumpy() reads an archive without entries", async () => {
  expect((await read("none.npz", zipSync({}))).methods).toMatchObject([{ name: "none", weights: [] }]);
});
