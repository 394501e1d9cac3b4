import { readdirSync, readFileSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { memorySource } from "../../src/bytes/byte-source.ts";
import { TareError } from "../../src/errors.ts";
import { readSafetensors } from "../../src/formats/safetensors/read.ts";
import { DTYPES } from "../../src/formats/safetensors/schema.ts";
import { chooseHoles, restRanges } from "../../src/model/holes.ts";

/** Times as many runs as in CI. */
const EFFORT = Number(process.env.TARE_FUZZ ?? 1);
const FOLDER = new URL("../../fixtures/safetensors/", import.meta.url);
const SHARDED = new URL("sharded/", FOLDER);
const INDEX = "model.safetensors.index.json";

type Files = Readonly<Record<string, Uint8Array>>;

function filesIn(folder: URL): Files {
  const names = readdirSync(folder).filter((name) => /\.safetensors(\.index\.json)?$/.test(name));
  return Object.fromEntries(names.map((name) => [name, new Uint8Array(readFileSync(new URL(name, folder)))]));
}

/**
 * Reads a model of a folder, and checks what must hold of every one that is not refused.
 * @returns whether it was read
 */
async function attempt(files: Files, given: readonly string[]): Promise<boolean> {
  const opened = given.map((path) => ({ path, source: memorySource(files[path] as Uint8Array, path) }));
  try {
    const draft = await readSafetensors(opened, {
      async open(path) {
        return Object.hasOwn(files, path) ? memorySource(files[path] as Uint8Array, path) : undefined;
      },
    });
    const holes = chooseHoles(draft);
    for (const { weights } of draft.methods) {
      expect(new Set(weights.map(({ name }) => name)).size).toBe(weights.length);
      for (const { at } of weights) {
        expect(at.offset + at.length).toBeLessThanOrEqual(draft.files[at.file]?.source.size ?? -1);
      }
    }
    for (const [nth, { path, source }] of draft.files.entries()) {
      // Every byte after the header is a weight's.
      if (path.endsWith(".safetensors")) {
        expect(restRanges(source.size, holes[nth] ?? [])).toMatchObject([{ offset: 0 }]);
      } else expect(holes[nth]).toEqual([]);
    }
    return true;
  } catch (error) {
    if (!(error instanceof TareError)) throw error;
    expect(error.message).toMatch(/^Cannot (read|parse|find) /);
    return false;
  }
}

/** A value that a header or an index has no use for, or just. */
const junk = fc.oneof(
  fc.constantFrom<unknown>(null, true, -1, -0, 0.5, 2 ** 53, 1e300, "", "F32", "__proto__", [], {}, [[]]),
  fc.constantFrom(...DTYPES.keys(), "../x", "/x", INDEX, "model-00001-of-00004.safetensors"),
  fc.array(fc.nat(100), { maxLength: 3 }),
  fc.nat(400),
);

/** What happens to the JSON of a header or an index. */
type Edit =
  | { readonly kind: "set"; readonly nth: number; readonly value: unknown }
  | { readonly kind: "drop"; readonly nth: number }
  | { readonly kind: "rename"; readonly nth: number; readonly key: string }
  | { readonly kind: "shift"; readonly nth: number; readonly by: number };
const nth = fc.nat(500);
const edit: fc.Arbitrary<Edit> = fc.oneof(
  fc.record({ kind: fc.constant("set"), nth, value: junk }),
  fc.record({ kind: fc.constant("drop"), nth }),
  fc.record({
    kind: fc.constant("rename"),
    nth,
    key: fc.constantFrom("a", "__metadata__", "__proto__", "dtype", "weight_map", "lm_head.weight"),
  }),
  {
    weight: 3,
    arbitrary: fc.record({ kind: fc.constant("shift"), nth, by: fc.constantFrom(-8, -1, 1, 8, 2 ** 31) }),
  },
);

/** Every place in a value: the object or list that has it, and its key. */
function placesIn(value: unknown): [Record<string, unknown>, string][] {
  if (typeof value !== "object" || value === null) return [];
  const holder = value as Record<string, unknown>;
  return Object.keys(holder).flatMap((key) => [
    [holder, key] as [typeof holder, string],
    ...placesIn(holder[key]),
  ]);
}

function editJson(text: string, edits: readonly Edit[]): string {
  const json: unknown = JSON.parse(text);
  for (const each of edits) {
    const places = placesIn(json);
    const [holder, key] = places[each.nth % Math.max(1, places.length)] ?? [];
    if (!holder || key === undefined) continue;
    const value = holder[key];
    if (each.kind === "set") holder[key] = each.value;
    else if (each.kind === "drop") delete holder[key];
    else if (each.kind === "shift") holder[key] = typeof value === "number" ? value + each.by : value;
    else {
      delete holder[key];
      Object.defineProperty(holder, each.key, {
        value,
        enumerable: true,
        configurable: true,
        writable: true,
      });
    }
  }
  return JSON.stringify(json);
}

/** The same file with another header, whose length is right. */
function editHeader(file: Uint8Array, edits: readonly Edit[]): Uint8Array {
  const end = 8 + Number(new DataView(file.buffer, file.byteOffset).getBigUint64(0, true));
  const header = Buffer.from(editJson(new TextDecoder().decode(file.subarray(8, end)), edits));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(header.length));
  return new Uint8Array(Buffer.concat([length, header, file.subarray(end)]));
}

function editFile(name: string, file: Uint8Array, edits: readonly Edit[]): Uint8Array {
  if (name !== INDEX) return editHeader(file, edits);
  return new TextEncoder().encode(editJson(new TextDecoder().decode(file), edits));
}

/** What happens to the bytes. */
const damage = fc.array(fc.record({ at: fc.nat(2 ** 16), value: fc.nat(255), cut: fc.boolean() }), {
  minLength: 1,
  maxLength: 3,
});

function damaged(file: Uint8Array, hits: readonly { at: number; value: number; cut: boolean }[]): Uint8Array {
  let bytes = file.slice();
  for (const { at, value, cut } of hits) {
    if (cut && value < 40) bytes = bytes.slice(0, at % (bytes.length + 1));
    else bytes[at % Math.max(1, bytes.length)] = value;
  }
  return bytes;
}

const SINGLE = Object.entries(filesIn(FOLDER));
const SHARDS = filesIn(SHARDED);
const GIVEN = Object.keys(SHARDS).filter((name) => name !== INDEX);

describe("readSafetensors() of damaged files", () => {
  test.each(SINGLE)("refuses %s cut off anywhere", async (name, bytes) => {
    for (let end = 0; end < bytes.length; end++) {
      expect(await attempt({ [name]: bytes.slice(0, end) }, [name])).toBe(false);
    }
  });

  test("reads or refuses what structure-aware mutation makes of headers", async () => {
    let read = 0;
    const runs = 3000 * EFFORT;
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(...SINGLE),
        fc.array(edit, { minLength: 1, maxLength: 3 }),
        async ([name, bytes], edits) => {
          if (await attempt({ [name]: editHeader(bytes, edits) }, [name])) read++;
        },
      ),
      { numRuns: runs },
    );
    // Both ways are taken.
    expect(read).toBeGreaterThan(runs / 50);
    expect(read).toBeLessThan(runs / 1.1);
  });

  test("reads or refuses files with other bytes", async () => {
    await fc.assert(
      fc.asyncProperty(fc.constantFrom(...SINGLE), damage, async ([name, bytes], hits) => {
        await attempt({ [name]: damaged(bytes, hits) }, [name]);
      }),
      { numRuns: 1500 * EFFORT },
    );
  });
});

describe("readSafetensors() of damaged shards", () => {
  test.each(Object.entries(SHARDS))("refuses them where %s is cut off anywhere", async (name, bytes) => {
    // The last byte of the index is a line's end.
    const whole = name === INDEX ? bytes.length - 1 : bytes.length;
    for (let end = 0; end < whole; end++) {
      expect(await attempt({ ...SHARDS, [name]: bytes.slice(0, end) }, GIVEN)).toBe(false);
    }
  });

  test("reads or refuses what structure-aware mutation makes of shards and index", async () => {
    let read = 0;
    const runs = 3000 * EFFORT;
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(INDEX, INDEX, ...GIVEN),
        fc.array(edit, { minLength: 1, maxLength: 2 }),
        fc.shuffledSubarray(GIVEN, { minLength: 1 }),
        async (name, edits, given) => {
          const file = editFile(name, SHARDS[name] as Uint8Array, edits);
          if (await attempt({ ...SHARDS, [name]: file }, given)) read++;
        },
      ),
      { numRuns: runs },
    );
    expect(read).toBeGreaterThan(runs / 100);
    expect(read).toBeLessThan(runs / 1.1);
  });

  test("reads or refuses shards with other bytes, and some that are gone", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(...Object.keys(SHARDS)),
        damage,
        fc.subarray(Object.keys(SHARDS), { minLength: 3 }),
        async (name, hits, present) => {
          const files = Object.fromEntries(
            present.map((each) => [
              each,
              each === name ? damaged(SHARDS[each] as Uint8Array, hits) : (SHARDS[each] as Uint8Array),
            ]),
          );
          const given = GIVEN.filter((each) => each in files).slice(0, 1);
          await attempt(files, given);
        },
      ),
      { numRuns: 1500 * EFFORT },
    );
  });
});
