import { readdirSync, readFileSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { memorySource } from "../../src/bytes/byte-source.ts";
import { TareError } from "../../src/errors.ts";
import { parseGgufHeader } from "../../src/formats/gguf/parse.ts";
import { readGguf } from "../../src/formats/gguf/read.ts";
import { GgufArray, type GgufValue } from "../../src/formats/gguf/values.ts";
import { encodeGgufHeader } from "../../src/formats/gguf/write.ts";
import {
  array,
  type BuiltEntry,
  type BuiltTensor,
  buildGguf,
  type GgufField,
  int32,
  text,
  TYPE,
  uint16,
  uint32,
} from "../support/gguf-builder.ts";

const FOLDER = new URL("../../fixtures/gguf/", import.meta.url);
const FIXTURES = readdirSync(FOLDER)
  .filter((name) => name.endsWith(".gguf"))
  .map((name) => new Uint8Array(readFileSync(new URL(name, FOLDER))));

/** Numbers that break what was not thought of. */
const EXTREMES: readonly bigint[] = [0, 1, 7, 8, 15, 16, 31, 32, 53, 60, 61, 63, 64].flatMap((bits) => [
  2n ** BigInt(bits) - 1n,
  2n ** BigInt(bits),
  2n ** BigInt(bits) + 1n,
]);

const entry: fc.Arbitrary<BuiltEntry> = fc.oneof(
  fc
    .tuple(fc.constantFrom("a", "split.no", "split.count"), fc.nat(3))
    .map(([key, value]) => uint16(key, value)),
  fc.constantFrom(1, 32, 64).map((value) => uint32("general.alignment", value)),
  fc.integer({ min: -1, max: 3 }).map((value) => int32("split.tensors.count", value)),
  fc.string({ maxLength: 5 }).map((value) => text("general.name", value)),
  fc.array(fc.string({ maxLength: 3 }), { maxLength: 4 }).map((tokens) =>
    array("tokens", TYPE.string, tokens.length, (out) => {
      for (const token of tokens) out.text(token);
    }),
  ),
  fc.array(fc.array(fc.nat(255), { maxLength: 3 }), { maxLength: 3 }).map((rows) =>
    array("rows", TYPE.array, rows.length, (out) => {
      for (const row of rows) out.integer(TYPE.uint8, 4, "type").integer(row.length, 8, "count").raw(row);
    }),
  ),
);
const tensor: fc.Arbitrary<BuiltTensor> = fc
  .tuple(fc.constantFrom("a", "b", "c"), fc.constantFrom(0, 1, 8, 99), fc.nat(3))
  .map(([name, type, rows]) => {
    const [row, size] = ({ 0: [3, 12], 1: [5, 10], 8: [32, 34] } as Record<number, number[]>)[type] ?? [
      4, 20,
    ];
    return { name, dims: [row as number, rows], type, size: (size as number) * rows };
  });

/** What happens to a file. */
type Mutation =
  | { readonly kind: "number"; readonly nth: number; readonly value: bigint }
  | { readonly kind: "byte"; readonly at: number; readonly value: number }
  | { readonly kind: "cut"; readonly at: number }
  | { readonly kind: "copy"; readonly from: number; readonly length: number; readonly to: number }
  | { readonly kind: "remove"; readonly at: number; readonly length: number };
const place = fc.nat(2 ** 20);
const mutation: fc.Arbitrary<Mutation> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({ kind: fc.constant("number"), nth: place, value: fc.constantFrom(...EXTREMES) }),
  },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("byte"), at: place, value: fc.nat(255) }) },
  fc.record({ kind: fc.constant("cut"), at: place }),
  fc.record({ kind: fc.constant("copy"), from: place, length: fc.nat(64), to: place }),
  fc.record({ kind: fc.constant("remove"), at: place, length: fc.nat(16) }),
);

function mutate(file: Uint8Array, fields: readonly GgufField[], mutations: readonly Mutation[]): Uint8Array {
  let bytes = file.slice();
  for (const each of mutations) {
    const places = bytes.length + 1;
    if (each.kind === "number") {
      const { at = 0, size = 0 } = fields[each.nth % fields.length] ?? {};
      for (let byte = 0; byte < size; byte++) {
        bytes[at + byte] = Number((each.value >> BigInt(byte * 8)) & 0xffn);
      }
    } else if (each.kind === "byte") bytes[each.at % places] = each.value;
    else if (each.kind === "cut") bytes = bytes.slice(0, each.at % places);
    else if (each.kind === "copy") {
      const piece = bytes.slice(each.from % places, (each.from % places) + each.length);
      bytes = Uint8Array.from([
        ...bytes.slice(0, each.to % places),
        ...piece,
        ...bytes.slice(each.to % places),
      ]);
    } else
      bytes = Uint8Array.from([
        ...bytes.slice(0, each.at % places),
        ...bytes.slice((each.at % places) + each.length),
      ]);
  }
  return bytes;
}

/** Reads every value, as deep as it goes. */
function exhaust(value: GgufValue): void {
  if (value instanceof GgufArray) for (const inner of value) exhaust(inner);
}

/**
 * Parses, and checks what must hold of every file that is not refused.
 * @returns whether it was read
 */
function attempt(bytes: Uint8Array): boolean {
  const start = performance.now();
  try {
    const header = parseGgufHeader(bytes, { name: "x.gguf", size: bytes.length });
    if (!header) throw new Error("more was asked for than the file has");
    for (const { value } of header.metadata) exhaust(value);
    let end = header.dataStart;
    for (const { offset, length } of header.tensors) {
      expect(offset).toBeGreaterThanOrEqual(end);
      expect((offset - header.dataStart) % header.alignment).toBe(0);
      end = offset + length;
    }
    expect(end).toBeLessThanOrEqual(bytes.length);
    if (header.alignment <= 2 ** 16) {
      // What padding holds is not the header's.
      const { bytes: written, size } = encodeGgufHeader(header);
      const end = written.findLastIndex((byte) => byte !== 0) + 1;
      expect(Buffer.compare(written.subarray(0, end), bytes.subarray(0, end))).toBe(0);
      const file = { name: "x.gguf", size: Math.max(size, bytes.length) };
      expect(parseGgufHeader(written, file)?.metadata).toEqual(header.metadata);
    }
    return true;
  } catch (error) {
    if (!(error instanceof TareError)) throw error;
    expect(error.message).toMatch(/^Cannot read (GGUF tensor )?"/);
    return false;
  } finally {
    expect(performance.now() - start).toBeLessThan(1000);
  }
}

describe("parseGgufHeader() of damaged files", () => {
  test("reads or refuses what structure-aware mutation makes of files by hand", () => {
    let read = 0;
    fc.assert(
      fc.property(
        fc.uniqueArray(entry, { selector: ([key]) => key, maxLength: 5 }),
        fc.uniqueArray(tensor, { selector: ({ name }) => name, maxLength: 3 }),
        fc.array(mutation, { maxLength: 3 }),
        (entries, tensors, mutations) => {
          const { bytes, fields } = buildGguf({ entries, tensors });
          if (attempt(mutate(bytes, fields, mutations))) read++;
        },
      ),
      { numRuns: 8000 },
    );
    // Both ways are taken.
    expect(read).toBeGreaterThan(500);
    expect(read).toBeLessThan(7500);
  });

  test("reads or refuses what mutation makes of files of llama.cpp's package", () => {
    fc.assert(
      fc.property(
        fc.constantFrom(...FIXTURES),
        fc.array(mutation, { minLength: 1, maxLength: 3 }),
        (bytes, mutations) => {
          const fields = Array.from({ length: 40 }, (_, nth): GgufField => {
            return { what: "value", at: nth * 8, size: 8 };
          });
          attempt(mutate(bytes, fields, mutations));
        },
      ),
      { numRuns: 1500 },
    );
  });

  test("reads or refuses any bytes after the magic number", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (tail) => {
        attempt(Uint8Array.from([...new TextEncoder().encode("GGUF\x03\0\0\0"), ...tail]));
      }),
      { numRuns: 2000 },
    );
  });
});

describe("readGguf() of damaged shards", () => {
  test("reads or refuses them", async () => {
    const names = [1, 2, 3].map((no) => `split-0000${no}-of-00003.gguf`);
    const files = names.map((name) => new Uint8Array(readFileSync(new URL(name, FOLDER))));
    await fc.assert(
      fc.asyncProperty(
        fc.nat(2),
        fc.array(mutation, { minLength: 1, maxLength: 2 }),
        fc.shuffledSubarray([0, 1, 2], { minLength: 1 }),
        async (damaged, mutations, given) => {
          const fields = Array.from({ length: 200 }, (_, nth): GgufField => {
            return { what: "value", at: 8 + nth, size: nth % 2 ? 2 : 1 };
          });
          const sources = files.map((bytes, no) =>
            memorySource(no === damaged ? mutate(bytes, fields, mutations) : bytes, names[no]),
          );
          try {
            const draft = await readGguf(
              given.map((no) => ({ path: names[no] as string, source: sources[no] as (typeof sources)[0] })),
              { open: async (path) => sources[names.indexOf(path)] },
            );
            expect(draft.methods).toHaveLength(1);
            expect(draft.methods[0]?.weights).toHaveLength(5);
          } catch (error) {
            if (!(error instanceof TareError)) throw error;
          }
        },
      ),
      { numRuns: 1500 },
    );
  });
});
