import { readdirSync, readFileSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, test, vi } from "vitest";
import { type ByteSource, memorySource } from "../../src/bytes/byte-source.ts";
import { Flatbuffer } from "../../src/encodings/flatbuffer/table.ts";
import { TareError } from "../../src/errors.ts";
import type { EditedProgram } from "../../src/formats/executorch/edit-program.ts";
import { externalizeProgram } from "../../src/formats/executorch/externalize.ts";
import { internalizeProgram } from "../../src/formats/executorch/internalize.ts";
import { readData, readExecutorch } from "../../src/formats/executorch/read.ts";
import { dataFileSpec, encodeDataHead } from "../../src/formats/executorch/write-data.ts";
import { tensorBytes } from "../../src/model/dtype.ts";
import { chooseHoles, restRanges } from "../../src/model/holes.ts";
import { weightsOf, writtenData, writtenProgram } from "../support/executorch.ts";

/** Times as many runs as in CI. */
const EFFORT = Number(process.env.TARE_FUZZ ?? 1);
const FOLDER = new URL("../../fixtures/executorch/", import.meta.url);
const FILES = readdirSync(FOLDER)
  .filter((name) => /\.pt[ed]$/.test(name))
  .map((name): [string, Uint8Array] => [name, new Uint8Array(readFileSync(new URL(name, FOLDER)))]);
const PROGRAM = FILES.find(([name]) => name === "first.pte")?.[1] as Uint8Array;
/** How often weights were moved into a program. */
let moved = 0;
const COMPANION = FILES.find(([name]) => name === "first-foundation.ptd")?.[1] as Uint8Array;

/**
 * Reads a file, with a data file in its folder, and checks what must hold of every one that is not refused.
 * @returns whether it was read
 */
async function attempt(name: string, bytes: Uint8Array): Promise<boolean> {
  let read = false;
  try {
    const draft = await readExecutorch([{ path: name, source: memorySource(bytes, name) }], {
      async open(path) {
        return path === "first.ptd" ? memorySource(COMPANION, path) : undefined;
      },
    });
    expect(new Set(draft.methods.map((method) => method.name)).size).toBe(draft.methods.length);
    for (const { name: method, weights } of draft.methods) {
      expect(method).not.toBe("");
      expect(new Set(weights.map((weight) => weight.name)).size).toBe(weights.length);
      for (const { at, dtype, shape } of weights) {
        expect(tensorBytes(dtype, shape)).toBe(at.length);
        expect(at.offset).toBeGreaterThanOrEqual(0);
        expect(at.offset + at.length).toBeLessThanOrEqual(draft.files[at.file]?.source.size ?? -1);
      }
    }
    const holes = chooseHoles(draft);
    for (const [nth, { source }] of draft.files.entries()) {
      const kept = [...restRanges(source.size, holes[nth] ?? []), ...(holes[nth] ?? [])];
      expect(kept.reduce((sum, { length }) => sum + length, 0)).toBe(source.size);
    }
    read = true;
    if (name.endsWith(".pte")) await move(name, bytes);
    else {
      await takeIn(name, bytes);
      await rewrite(name, bytes);
    }
  } catch (error) {
    if (!(error instanceof TareError)) throw error;
    expect(error.message).toMatch(/^Cannot (read|write a data file|move) /);
  }
  return read;
}

/** What a data file says is the same after it was written again, or it is refused. */
async function rewrite(name: string, bytes: Uint8Array): Promise<void> {
  const data = await readData(memorySource(bytes, name));
  const { bytes: head, size } = encodeDataHead(dataFileSpec(data));
  const file = new Uint8Array(Math.max(size, head.length));
  file.set(head);
  const again = await readData(memorySource(file, name));
  const said = ({ named, segments }: typeof data): unknown => [named, segments.map(({ length }) => length)];
  expect(said(again)).toEqual(said(data));
}

const ALONE = { open: async () => undefined };

/**
 * Moves every second weight to a data file, and all of them back: what is read for that is in the files, written where
 * nothing is, and what it was.
 */
async function move(name: string, bytes: Uint8Array): Promise<void> {
  let nth = 0;
  const source = memorySource(bytes, name);
  const made = await externalizeProgram(source, () => (nth++ % 2 ? "x" : undefined));
  const program = memorySource(writtenProgram(made, [bytes]), name);
  const data = made.files.map((file) => memorySource(writtenData(file, bytes), `${file.name}.ptd`));
  if (data.length === 0) return;
  const before = await weightsOf(await readExecutorch([{ path: "a.pte", source }], ALONE));
  const back = await internalizeProgram(program, data, () => true);
  const whole = memorySource(await written(back, [program, ...data]), name);
  expect(await weightsIn([whole])).toEqual(before);
  moved++;
}

/** Moves a data file into the program of the first fixtures, or it is refused. */
async function takeIn(name: string, bytes: Uint8Array): Promise<void> {
  const sources = [memorySource(PROGRAM, "first.pte"), memorySource(bytes, name)];
  const [program, data] = sources as [ByteSource, ByteSource];
  const made = await internalizeProgram(program, [data], (key) => !key.startsWith("lora"));
  await readExecutorch([{ path: "a.pte", source: memorySource(await written(made, sources)) }], ALONE);
  moved++;
}

async function weightsIn(sources: readonly ByteSource[]): Promise<Record<string, string[]>> {
  const files = sources.map((source, nth) => ({ path: nth === 0 ? "a.pte" : `${nth}.ptd`, source }));
  return weightsOf(await readExecutorch(files, ALONE));
}

async function written(made: EditedProgram, sources: readonly ByteSource[]): Promise<Uint8Array> {
  return writtenProgram(made, await Promise.all(sources.map((source) => source.read(0, source.size))));
}

/** Where the numbers stand that a parser goes by: every place of up to 8 bytes that it looks at. */
async function placesOf(name: string, bytes: Uint8Array): Promise<{ at: number; size: number }[]> {
  const places = new Map<number, number>();
  const spy = vi.spyOn(Flatbuffer.prototype, "view");
  await attempt(name, bytes);
  for (const [at, size] of spy.mock.calls) if (size > 0 && size <= 8) places.set(at, size);
  spy.mockRestore();
  for (const at of [16, 24, 32, 40]) places.set(at, 8);
  return [...places].map(([at, size]) => ({ at, size })).sort((a, b) => a.at - b.at);
}

const PLACES = new Map<string, { at: number; size: number }[]>();
for (const [name, bytes] of FILES) PLACES.set(name, await placesOf(name, bytes));

const edit = fc.record({
  nth: fc.nat(5000),
  /** Set to a number, moved by one, or made what another place has. */
  kind: fc.constantFrom("set", "shift", "shift", "copy"),
  value: fc.oneof(
    fc.constantFrom(
      -64,
      -16,
      -8,
      -4,
      -2,
      -1,
      0,
      1,
      2,
      4,
      5,
      8,
      12,
      16,
      64,
      255,
      2 ** 16,
      2 ** 31,
      2 ** 32 - 1,
    ),
    fc.nat(8192),
  ),
});
type Edit = typeof edit extends fc.Arbitrary<infer T> ? T : never;

function mutated(name: string, bytes: Uint8Array, edits: readonly Edit[]): Uint8Array {
  const places = PLACES.get(name) as { at: number; size: number }[];
  const out = bytes.slice();
  const number = (at: number, size: number): bigint => {
    let value = 0n;
    for (let byte = size - 1; byte >= 0; byte--) value = value * 256n + BigInt(out[at + byte] ?? 0);
    return value;
  };
  for (const { nth, kind, value } of edits) {
    const { at, size } = places[nth % places.length] as { at: number; size: number };
    const other = places[Math.abs(value) % places.length] as { at: number; size: number };
    const next =
      kind === "set"
        ? BigInt(value)
        : kind === "shift"
          ? number(at, size) + BigInt(value)
          : number(other.at, other.size);
    for (let byte = 0; byte < size && at + byte < out.length; byte++) {
      out[at + byte] = Number(BigInt.asUintN(64, next >> BigInt(8 * byte)) & 0xffn);
    }
  }
  return out;
}

describe("readExecutorch() of damaged files", () => {
  test("meets files of both kinds, with many numbers to go by", () => {
    expect(FILES.length).toBeGreaterThan(15);
    for (const places of PLACES.values()) expect(places.length).toBeGreaterThan(10);
  });

  test.each(FILES)("refuses %s cut off anywhere, or what is read is there", async (name, bytes) => {
    const view = new DataView(bytes.buffer, bytes.byteOffset);
    // Where there is a header it says how long the file is; the tables of others end with what is not looked at.
    const sized = /^(eh00|FH01)/.test(String.fromCharCode(...bytes.subarray(8, 12)));
    const step = bytes.length > 20_000 ? 7 : 1;
    for (let end = 0; end < bytes.length; end += step) {
      const read = await attempt(name, bytes.slice(0, end));
      if (sized || end < view.getUint32(0, true)) expect(read).toBe(false);
    }
  });

  test("reads or refuses what mutation of the numbers that it goes by makes of them", async () => {
    let read = 0;
    moved = 0;
    const runs = 4000 * EFFORT;
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(...FILES),
        fc.array(edit, { minLength: 1, maxLength: 3 }),
        async ([name, bytes], edits) => {
          if (await attempt(name, mutated(name, bytes, edits))) read++;
        },
      ),
      { numRuns: runs },
    );
    // Both ways are taken.
    expect(read).toBeGreaterThan(runs / 50);
    expect(read).toBeLessThan(runs / 1.05);
    expect(moved).toBeGreaterThan(runs / 100);
  });

  test("reads or refuses files with other bytes", async () => {
    const hit = fc.record({ at: fc.nat(2 ** 14), value: fc.nat(255) });
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(...FILES),
        fc.array(hit, { minLength: 1, maxLength: 6 }),
        async ([name, bytes], hits) => {
          const out = bytes.slice();
          for (const { at, value } of hits) out[at % out.length] = value;
          await attempt(name, out);
        },
      ),
      { numRuns: 2000 * EFFORT },
    );
  });
});
