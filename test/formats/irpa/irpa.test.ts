import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { memorySource } from "../../../src/io/byte-source.ts";
import { irpa } from "../../../src/formats/irpa/format.ts";
import { readIrpaEntries } from "../../../src/formats/irpa/read.ts";
import { encodeIrpaHeader, type IrpaSpec, irpaTensorMetadata } from "../../../src/formats/irpa/write.ts";
import { writeSafetensors } from "../../../src/formats/safetensors/write.ts";
import { openStore } from "../../../src/tare-store.ts";
import { counting } from "../../support/bytes.ts";
import { readFiles } from "../../support/read-files.ts";
import { countingSource } from "../../support/counting-source.ts";
import { SAMPLED, some } from "../../support/speed.ts";
import { temporaryFolder } from "../../support/temporary.ts";
import { thrown } from "../../support/thrown.ts";

const FOLDER = fileURLToPath(new URL("../../../fixtures/irpa/", import.meta.url));
const NAMES = readdirSync(FOLDER).filter((name) => name.endsWith(".irpa"));

interface Expected {
  readonly sha256?: string;
  readonly splat?: string;
  readonly length: number;
  readonly metadata: string;
}
const EXPECTED = JSON.parse(readFileSync(join(FOLDER, "expected.json"), "utf8")) as Record<
  string,
  Record<string, Expected>
>;

function fixture(name: string): Uint8Array {
  return new Uint8Array(readFileSync(join(FOLDER, name)));
}

/** A whole archive of the bytes given. */
function build(specs: readonly (IrpaSpec & { readonly bytes?: Uint8Array })[]): Uint8Array {
  const { bytes, offsets, size } = encodeIrpaHeader(specs);
  const file = new Uint8Array(size);
  file.set(bytes);
  for (const [nth, { bytes: data }] of specs.entries()) if (data) file.set(data, offsets[nth]);
  return file;
}

function changed(file: Uint8Array, change: (view: DataView) => void): Uint8Array {
  const bytes = file.slice();
  change(new DataView(bytes.buffer));
  return bytes;
}

describe("readIrpa()", () => {
  test.each(NAMES)("finds in %s what IREE's own reader finds", async (name) => {
    const file = fixture(name);
    const entries = await readIrpaEntries(memorySource(file, name));
    const found = entries.map((entry): [string, Expected] => {
      const { length } = entry;
      const metadata = new TextDecoder().decode(entry.metadata);
      if (entry.kind === "splat") {
        return [entry.name, { splat: Buffer.from(entry.pattern).toString("hex"), length, metadata }];
      }
      const data = file.subarray(entry.offset, entry.offset + length);
      const sha256 = createHash("sha256").update(data).digest("hex");
      return [entry.name, { sha256, length, metadata }];
    });
    expect(Object.fromEntries(found)).toEqual(EXPECTED[name]);
  });

  test("takes dtype and shape from metadata; what says none is bytes", async () => {
    const typed = await readFiles(irpa, { "typed.irpa": fixture("typed.irpa") });
    expect(typed.notes).toBeUndefined();
    expect(typed.methods[0]?.weights).toContainEqual(
      expect.objectContaining({ name: "layer.complex64", dtype: "complex64", shape: [3, 5] }),
    );
    const mixed = await readFiles(irpa, { "mixed.irpa": fixture("mixed.irpa") });
    expect(mixed.methods[0]?.weights).toMatchObject([
      { name: "plain", dtype: "uint8", shape: [100] },
      { name: "größe", dtype: "uint8", shape: [3] },
      { name: "torch", dtype: "bfloat16", shape: [2, 3] },
      { name: "empty", dtype: "uint8", shape: [0] },
    ]);
    expect(mixed.notes).toEqual([
      'Parameters of one repeated pattern are part of the program of "mixed.irpa": 2',
      'Parameter "größe" has metadata without a fitting dtype and shape: kept as plain bytes',
    ]);
  });

  test("reads nothing of the weights", async () => {
    const source = countingSource(memorySource(fixture("typed.irpa"), "typed.irpa"));
    const draft = await irpa.read([{ path: "typed.irpa", source }], { open: async () => undefined });
    const first = Math.min(...(draft.methods[0]?.weights ?? []).map(({ at }) => at.offset));
    expect(source.reads.every(({ offset, length }) => offset + length <= first)).toBe(true);
  });

  test("passes over entries to be skipped, and takes two parameters at one place", async () => {
    const file = build([
      { kind: "data", name: "a", length: 8, bytes: counting(8) },
      { kind: "data", name: "b", length: 8, bytes: counting(8) },
      { kind: "data", name: "c", length: 8, bytes: counting(8) },
    ]);
    // An entry takes 80 bytes from byte 96 on; its storage offset is at 60.
    const skipped = changed(file, (view) => {
      view.setUint32(96 + 80 + 8, 0, true);
      view.setBigUint64(96 + 160 + 60, 0n, true);
    });
    const draft = await readFiles(irpa, { "x.irpa": skipped });
    const weights = draft.methods[0]?.weights ?? [];
    expect(weights.map(({ name }) => name)).toEqual(["a", "c"]);
    expect(weights[1]?.at).toEqual(weights[0]?.at);
  });

  test.each<[string, string, string, (view: DataView) => void]>([
    ["another magic", "unknown-format", "does not start with IRPA", (view) => view.setUint8(0, 0)],
    ["a newer version", "unsupported", "its version is 0.1", (view) => view.setUint16(6, 1, true)],
    ["a longer header", "malformed", "a size of 96 bytes", (view) => view.setBigUint64(8, 96n, true)],
    ["a second header", "unsupported", "another header", (view) => view.setBigUint64(16, 4096n, true)],
    ["more entries", "malformed", "3 entries do not fit", (view) => view.setBigUint64(32, 3n, true)],
    ["fewer entries", "malformed", "continues after its 1", (view) => view.setBigUint64(32, 1n, true)],
    ["a table past the end", "malformed", "past the end", (view) => view.setBigUint64(48, 2n ** 63n, true)],
    ["parts over parts", "malformed", "its parts overlap", (view) => view.setBigUint64(72, 96n, true)],
    ["an entry of no size", "malformed", "entry 0 does not fit", (view) => view.setBigUint64(96, 0n, true)],
    ["EXTERNAL", "unsupported", "(EXTERNAL)", (view) => view.setUint32(104, 3, true)],
    ["an unknown type", "unsupported", "of type 9", (view) => view.setUint32(104, 9, true)],
    [
      "a name past the metadata",
      "malformed",
      "ends past",
      (view) => view.setBigUint64(116, 2n ** 64n - 1n, true),
    ],
    ["a name that is not UTF-8", "malformed", "not UTF-8", (view) => view.setUint8(96 + 156, 0xff)],
    [
      "names over one another",
      "malformed",
      "longer than its metadata",
      (view) => view.setBigUint64(96 + 80 + 28, 2n, true),
    ],
    ["a name twice", "duplicate", "twice", (view) => view.setUint8(96 + 157, 0x61)],
    ["data past the storage", "malformed", "of the storage", (view) => view.setBigUint64(164, 200n, true)],
    ["data over data", "malformed", 'inside tensor "a"', (view) => view.setBigUint64(96 + 80 + 60, 4n, true)],
  ])("refuses %s", async (_, code, reason, change) => {
    const file = build([
      { kind: "data", name: "a", length: 8, bytes: counting(8) },
      { kind: "data", name: "b", length: 8, bytes: counting(8, 3) },
    ]);
    const error = await thrown(readFiles(irpa, { "x.irpa": changed(file, change) }));
    expect(error.code).toBe(code);
    expect(error.message).toContain(reason);
    expect(error.path).toBe("x.irpa");
  });
});

describe("encodeIrpaHeader()", () => {
  test.each(NAMES)("gives %s back byte for byte", async (name) => {
    const file = fixture(name);
    const entries = await readIrpaEntries(memorySource(file, name));
    const { bytes, offsets, size } = encodeIrpaHeader(entries);
    expect(bytes).toEqual(file.subarray(0, bytes.length));
    expect(size).toBe(file.length);
    for (const [nth, entry] of entries.entries()) {
      if (entry.kind === "data" && entry.length > 0) expect(offsets[nth]).toBe(entry.offset);
    }
  });

  test("writes what readIrpaEntries() reads", SAMPLED, async () => {
    const metadata = fc.uint8Array({ maxLength: 20 });
    const spec: fc.Arbitrary<IrpaSpec> = fc.oneof(
      fc.record({
        kind: fc.constant("data" as const),
        name: fc.string({ unit: "binary" }),
        metadata,
        alignment: fc.constantFrom(1, 2, 64, 256),
        length: fc.nat(300),
      }),
      fc.record({
        kind: fc.constant("splat" as const),
        name: fc.string(),
        metadata,
        pattern: fc.constantFrom(1, 2, 4, 8, 16).map((length) => counting(length, 9)),
        length: fc.nat(2 ** 31),
      }),
    );
    await fc.assert(
      fc.asyncProperty(fc.uniqueArray(spec, { selector: ({ name }) => name }), async (specs) => {
        const { offsets } = encodeIrpaHeader(specs);
        const read = await readIrpaEntries(memorySource(build(specs), "x.irpa"));
        expect(read).toHaveLength(specs.length);
        for (const [nth, wanted] of specs.entries()) {
          const { metadata: said = new Uint8Array(), ...rest } = wanted;
          const { metadata: found, ...entry } = read[nth] as (typeof read)[number];
          expect([...found]).toEqual([...said]);
          expect(entry).toMatchObject(rest);
          if (entry.kind === "data" && entry.length > 0) {
            expect(entry.offset).toBe(offsets[nth]);
            expect(entry.offset % entry.alignment).toBe(0);
          }
        }
      }),
      { numRuns: some(100) },
    );
  });

  test.each<[string, IrpaSpec[]]>([
    [
      "duplicate",
      [
        { kind: "data", name: "a", length: 1 },
        { kind: "data", name: "a", length: 1 },
      ],
    ],
    ["malformed", [{ kind: "splat", name: "a", length: 1, pattern: new Uint8Array(3) }]],
    ["malformed", [{ kind: "data", name: "a", length: 1, alignment: 3 }]],
    ["malformed", [{ kind: "data", name: "a", length: 1, alignment: 2 ** 22 }]],
    ["too-large", [{ kind: "data", name: "a", length: -1 }]],
  ])("refuses what is %s", (code, specs) => {
    expect(() => encodeIrpaHeader(specs)).toThrow(expect.objectContaining({ code }));
  });
});

describe("parameter archives in a store", () => {
  test("come back byte for byte, and share with safetensors files", async () => {
    const folder = await temporaryFolder();
    const store = await openStore({ path: join(folder, "store") });
    for (const name of NAMES) {
      await store.add([join(FOLDER, name)], { as: name });
      await store.export(name, join(folder, name));
      expect((await readFile(join(folder, name))).equals(await readFile(join(FOLDER, name)))).toBe(true);
    }
    const bytes = counting(256 * 256 * 4, 5);
    const tensor = { dtype: "float32", shape: [256, 256], bytes } as const;
    await writeFile(join(folder, "w.safetensors"), writeSafetensors({ w: tensor }));
    await writeFile(
      join(folder, "w.irpa"),
      build([
        {
          kind: "data",
          name: "w",
          length: bytes.length,
          metadata: irpaTensorMetadata("float32", [256, 256]),
          bytes,
        },
      ]),
    );
    await store.add([join(folder, "w.safetensors")], { as: "s" });
    expect((await store.add([join(folder, "w.irpa")], { as: "i" })).newBytes).toBeLessThan(8192);
    expect((await store.verify({ full: true })).problems).toEqual([]);
  });
});
