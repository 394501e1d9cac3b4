import { readdirSync, readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { memorySource } from "../../../src/io/byte-source.ts";
import { readData } from "../../../src/formats/executorch/read.ts";
import {
  type DataFileSpec,
  dataFileSpec,
  encodeDataHeader,
} from "../../../src/formats/executorch/write-data.ts";
import { thrown } from "../../support/thrown.ts";

const FIXTURES = new URL("../../../fixtures/executorch/", import.meta.url);
const DATA = readdirSync(FIXTURES).filter((name) => name.endsWith(".ptd"));
const FLOAT = 6;

/** A data file with bytes in its segments. */
function writeData(spec: DataFileSpec, segments: readonly Uint8Array[]): Uint8Array {
  const { bytes, segments: places, size } = encodeDataHeader(spec);
  const file = new Uint8Array(size);
  file.set(bytes);
  for (const [nth, { offset, length }] of places.entries()) {
    expect(segments[nth]?.byteLength).toBe(length);
    file.set(segments[nth] as Uint8Array, offset);
  }
  return file;
}

describe("encodeDataHeader()", () => {
  test("finds data files that ExecuTorch wrote", () => {
    expect(DATA.length).toBeGreaterThan(7);
  });

  test.each(DATA)("gives %s, which ExecuTorch wrote, byte for byte", async (name) => {
    const bytes = new Uint8Array(readFileSync(new URL(name, FIXTURES)));
    const data = await readData(memorySource(bytes, name));
    const segments = data.segments.map(({ offset, length }) => bytes.subarray(offset, offset + length));
    expect(Buffer.from(writeData(dataFileSpec(data), segments)).equals(Buffer.from(bytes))).toBe(true);
  });

  test("puts segments where their alignment wants them, 128 at least", () => {
    const { segments, bytes, size } = encodeDataHeader({
      segments: [
        { length: 1 },
        { length: 1, alignment: 4096 },
        { length: 300, alignment: 24 },
        { length: 0 },
      ],
      named: [],
    });
    const base = bytes.length;
    expect(base % 128).toBe(0);
    expect(segments.map(({ offset }) => offset - base)).toEqual([0, 4096, 4224, 4608]);
    expect(size - base).toBe(4608);
  });

  const layout = { type: FLOAT, sizes: [2], dimOrder: [0] };
  test.each<[string, DataFileSpec, string, string]>([
    [
      "two of one key",
      { segments: [{ length: 1 }], named: ["a", "a"].map((key) => ({ key, segment: 0 })) },
      "duplicate",
      'two weights "a"',
    ],
    [
      "a segment that is not there",
      { segments: [], named: [{ key: "a", segment: 0 }] },
      "malformed",
      "segment 0",
    ],
    [
      "a layout of another size",
      { segments: [{ length: 4 }], named: [{ key: "a", segment: 0, layout }] },
      "size-mismatch",
      '"a" of 4 bytes: [2] of scalar type 6 takes 8',
    ],
    [
      "an alignment of 0",
      { segments: [{ length: 4, alignment: 0 }], named: [] },
      "malformed",
      "alignment of 0",
    ],
    ["a segment of less than nothing", { segments: [{ length: -1 }], named: [] }, "too-large", "-1 bytes"],
  ])("refuses %s", async (_, spec, code, message) => {
    const error = await thrown(async () => encodeDataHeader(spec));
    expect(error).toMatchObject({ code, message: expect.stringContaining("Cannot write a data file with ") });
    expect(error.message).toContain(message);
  });

  test("refuses to write again what no alignment lays out so", async () => {
    const file = { version: 0, named: [] };
    const segments = [
      { offset: 256, length: 10 },
      { offset: 300, length: 10 },
    ];
    expect(await thrown(async () => dataFileSpec({ ...file, segments }))).toMatchObject({
      code: "unsupported",
    });
    expect(
      await thrown(async () => dataFileSpec({ ...file, segments: segments.toReversed() })),
    ).toMatchObject({
      code: "unsupported",
    });
  });
});
