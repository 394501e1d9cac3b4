import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { memorySource } from "../../../src/io/byte-source.ts";
import { tvmParams } from "../../../src/formats/tvm-params/format.ts";
import { readTvmParamsEntries } from "../../../src/formats/tvm-params/read.ts";
import { dtypeOfType, typeOfDType } from "../../../src/formats/tvm-params/schema.ts";
import { encodeTvmParams, type ParamsSpec } from "../../../src/formats/tvm-params/write.ts";
import { writeSafetensors } from "../../../src/formats/safetensors/write.ts";
import { openStore } from "../../../src/tare-store.ts";
import { DTYPE_BITS, type DType, tensorBytes } from "../../../src/tensor/dtype.ts";
import { counting } from "../../support/bytes.ts";
import { readFiles } from "../../support/read-files.ts";
import { countingSource } from "../../support/counting-source.ts";
import { SAMPLED, some } from "../../support/speed.ts";
import { temporaryFolder } from "../../support/temporary.ts";
import { thrown } from "../../support/thrown.ts";

const FOLDER = fileURLToPath(new URL("../../../fixtures/tvm/", import.meta.url));
const NAMES = readdirSync(FOLDER).filter((name) => name.endsWith(".params"));

interface Expected {
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly sha256: string;
}
const EXPECTED = JSON.parse(readFileSync(join(FOLDER, "expected.json"), "utf8")) as Record<
  string,
  Record<string, Expected>
>;

function fixture(name: string): Uint8Array {
  return new Uint8Array(readFileSync(join(FOLDER, name)));
}

/** A whole file, of the bytes that `data` gives for each array. */
function build(specs: readonly ParamsSpec[], data: (nth: number, length: number) => Uint8Array): Uint8Array {
  const { places, empty } = encodeTvmParams(specs);
  const pieces = places.flatMap(({ header, length }, nth) => [header, data(nth, length)]);
  return new Uint8Array(Buffer.concat([empty, ...pieces]));
}

const FLOAT32 = { code: 2, bits: 32, lanes: 1 } as const;
/** Two arrays of 16 bytes, with names of one letter: arrays start at 50 and 114. */
const SMALL = build(
  [
    { name: "a", type: FLOAT32, shape: [2, 2] },
    { name: "b", type: FLOAT32, shape: [2, 2] },
  ],
  (nth, length) => counting(length, nth),
);

describe("readTvmParams()", () => {
  test.each(NAMES)("finds in %s what TVM's own reader finds", async (name) => {
    const file = fixture(name);
    const draft = await readFiles(tvmParams, { [name]: file });
    expect(draft.notes).toBeUndefined();
    const found = (draft.methods[0]?.weights ?? []).map(({ name: weight, dtype, shape, at }) => {
      const data = file.subarray(at.offset, at.offset + at.length);
      return [weight, { dtype, shape, sha256: createHash("sha256").update(data).digest("hex") }];
    });
    expect(Object.fromEntries(found)).toEqual(EXPECTED[name]);
  });

  test("reads nothing of weights that are not small", async () => {
    const source = countingSource(
      memorySource(
        build([{ name: "a", type: FLOAT32, shape: [1 << 20] }], (_, n) => new Uint8Array(n)),
        "x.params",
      ),
    );
    await tvmParams.read([{ path: "x.params", source }], { open: async () => undefined });
    expect(source.bytes).toBeLessThan(64 * 1024 + 100);
  });

  test("keeps arrays of other types as bytes, and says so", async () => {
    const file = build(
      [
        { name: "int4", type: { code: 0, bits: 4, lanes: 1 }, shape: [2, 3] },
        { name: "vector", type: { code: 2, bits: 32, lanes: 4 }, shape: [2] },
        { name: "old bool", type: { code: 1, bits: 1, lanes: 1 }, shape: [3] },
      ],
      (_, length) => counting(length),
    );
    const draft = await readFiles(tvmParams, { "x.params": file });
    expect(draft.methods[0]?.weights).toMatchObject([
      { name: "int4", dtype: "uint8", shape: [6] },
      { name: "vector", dtype: "uint8", shape: [32] },
      { name: "old bool", dtype: "bool", shape: [3] },
    ]);
    expect(draft.notes).toEqual([
      'Tensor "int4" is of DLPack type 0 of 4 bits, which tare does not know: kept as plain bytes',
      'Tensor "vector" is of DLPack type 2 of 32 bits and 4 lanes, which tare does not know: kept as plain bytes',
    ]);
  });

  test("reads more names than the first read has", async () => {
    const specs = Array.from({ length: 3000 }, (_, nth) => ({
      name: `${"layer.".repeat(8)}${nth}`,
      type: FLOAT32,
      shape: [1],
    }));
    const file = build(specs, (nth, length) => counting(length, nth));
    expect((await readFiles(tvmParams, { "x.params": file })).methods[0]?.weights).toHaveLength(3000);
  });

  test.each<[string, string, string, (view: DataView) => void]>([
    ["another magic", "unknown-format", "as TVM's parameters", (view) => view.setUint8(0, 0)],
    ["a reserved number", "unsupported", "reserved", (view) => view.setUint8(8, 1)],
    [
      "more names than bytes",
      "malformed",
      "do not fit its bytes",
      (view) => view.setBigUint64(16, 2n ** 60n, true),
    ],
    ["a name past the end", "malformed", "ends past", (view) => view.setBigUint64(24, 2n ** 64n - 1n, true)],
    ["a name that is not UTF-8", "malformed", "not UTF-8", (view) => view.setUint8(32, 0xff)],
    ["a name twice", "duplicate", "twice", (view) => view.setUint8(41, 0x61)],
    ["fewer arrays", "malformed", "2 names and 1 arrays", (view) => view.setUint8(42, 1)],
    ["an array's other magic", "malformed", "no array starts", (view) => view.setUint8(50, 0)],
    ["an array's reserved number", "unsupported", "reserved", (view) => view.setUint8(58, 1)],
    ["another device", "malformed", "on device 2", (view) => view.setInt32(66, 2, true)],
    ["negative dimensions", "malformed", "-1 dimensions", (view) => view.setInt32(74, -1, true)],
    ["a negative dimension", "too-large", "[-2, 2]", (view) => view.setBigInt64(82, -2n, true)],
    ["a shape of another size", "size-mismatch", "takes 24 bytes", (view) => view.setBigInt64(82, 3n, true)],
    ["data past the end", "malformed", "past the end", (view) => view.setBigInt64(98, 2n ** 62n, true)],
    ["data of negative size", "malformed", "past the end", (view) => view.setBigInt64(98, -1n, true)],
  ])("refuses %s", async (_, code, reason, change) => {
    const file = SMALL.slice();
    change(new DataView(file.buffer));
    const error = await thrown(readFiles(tvmParams, { "x.params": file }));
    expect(error.code).toBe(code);
    expect(error.message).toContain(reason);
    expect(error.path).toBe("x.params");
  });

  test("refuses bytes after the last array", async () => {
    const longer = new Uint8Array([...SMALL, 0]);
    expect(await thrown(readFiles(tvmParams, { "x.params": longer }))).toMatchObject({
      code: "malformed",
      offset: SMALL.length,
    });
  });
});

describe("encodeTvmParams()", () => {
  test.each(NAMES)("gives %s back byte for byte", async (name) => {
    const file = fixture(name);
    const entries = await readTvmParamsEntries(memorySource(file, name));
    const again = build(entries, (nth) => {
      const { offset, length } = entries[nth] as (typeof entries)[number];
      return file.subarray(offset, offset + length);
    });
    expect(again).toEqual(file);
    expect(encodeTvmParams(entries).size).toBe(file.length);
  });

  test("writes what readTvmParams() reads", SAMPLED, async () => {
    const known = (Object.keys(DTYPE_BITS) as DType[]).filter(typeOfDType);
    expect(known.length).toBeGreaterThan(15);
    const spec = fc.record({
      name: fc.string({ unit: "binary" }),
      dtype: fc.constantFrom(...known),
      shape: fc.array(fc.nat(4), { maxLength: 6 }),
    });
    await fc.assert(
      fc.asyncProperty(fc.uniqueArray(spec, { selector: ({ name }) => name }), async (wanted) => {
        const specs = wanted.map(({ dtype, ...rest }) => ({ ...rest, type: typeOfDType(dtype) ?? FLOAT32 }));
        const file = build(specs, (nth, length) => counting(length, nth));
        const draft = await readFiles(tvmParams, { "x.params": file });
        expect(draft.methods[0]?.weights.map(({ name, dtype, shape }) => ({ name, dtype, shape }))).toEqual(
          wanted,
        );
        for (const [nth, { at, dtype, shape }] of (draft.methods[0]?.weights ?? []).entries()) {
          expect(at.length).toBe(tensorBytes(dtype, shape));
          expect(file.subarray(at.offset, at.offset + at.length)).toEqual(counting(at.length, nth));
          expect(dtypeOfType((specs[nth] as ParamsSpec).type)).toBe(dtype);
        }
      }),
      { numRuns: some(100) },
    );
  });

  test.each<[string, ParamsSpec[]]>([
    [
      "duplicate",
      [
        { name: "a", type: FLOAT32, shape: [] },
        { name: "a", type: FLOAT32, shape: [] },
      ],
    ],
    ["too-large", [{ name: "a", type: FLOAT32, shape: [2 ** 40, 2 ** 40] }]],
    ["unsupported", [{ name: "a", type: FLOAT32, shape: Array.from({ length: 65 }, () => 1) }]],
  ])("refuses what is %s", (code, specs) => {
    expect(() => encodeTvmParams(specs)).toThrow(expect.objectContaining({ code }));
  });
});

describe("TVM's parameters in a store", () => {
  test("come back byte for byte, and share with safetensors files", async () => {
    const folder = await temporaryFolder();
    const store = await openStore({ path: join(folder, "store") });
    for (const name of NAMES) {
      await store.add([join(FOLDER, name)], { as: name });
      await store.export(name, join(folder, name));
      expect((await readFile(join(folder, name))).equals(await readFile(join(FOLDER, name)))).toBe(true);
    }
    const bytes = counting(256 * 256 * 4, 5);
    await writeFile(
      join(folder, "w.safetensors"),
      writeSafetensors({ w: { dtype: "float32", shape: [256, 256], bytes } }),
    );
    await writeFile(
      join(folder, "w.params"),
      build([{ name: "w", type: FLOAT32, shape: [256, 256] }], () => bytes),
    );
    await store.add([join(folder, "w.safetensors")], { as: "s" });
    expect((await store.add([join(folder, "w.params")], { as: "p" })).newBytes).toBeLessThan(4096);
    expect((await store.verify({ full: true })).problems).toEqual([]);
  });
});
