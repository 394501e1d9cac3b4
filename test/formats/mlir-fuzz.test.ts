import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { memorySource } from "../../src/bytes/byte-source.ts";
import { TareError } from "../../src/errors.ts";
import { builtinResources, type MlirBytecode, readBytecode } from "../../src/formats/mlir/bytecode.ts";
import { fillText, missingKeys, textManifest, thinText } from "../../src/formats/mlir/edit-text.ts";
import { declaredKeys, fillBytecode } from "../../src/formats/mlir/fill-bytecode.ts";
import { readMlirText, textBlobs } from "../../src/formats/mlir/text.ts";
import {
  bytecodeManifest,
  type DetachableBlob,
  detachableBlobs,
  thinBytecode,
} from "../../src/formats/mlir/thin-bytecode.ts";
import { encodeVarint } from "../../src/formats/mlir/varint.ts";
import { mlirBytes, render } from "../support/mlir.ts";

/** Times as many runs as in CI. */
const EFFORT = Number(process.env.TARE_FUZZ ?? 1);
const FILES = ["small-0", "small-3", "small-4", "small-6", "thin-22", "lowered-thin-19"].map(
  (name): [string, Uint8Array] => [name, mlirBytes(`${name}.mlirbc`)],
);
const TEXTS = ["small", "small-lowered-thin"].map((name): [string, string] => [
  name,
  new TextDecoder().decode(mlirBytes(`${name}.mlir`)),
]);
const manifestOf = (blobs: readonly DetachableBlob[]): Parameters<typeof thinBytecode>[1] => ({
  file: { version: 1 },
  weights: new Map(blobs.map(({ key, length, alignment }) => [key, { length, alignment }])),
});

/** Whether a read was refused; anything but a typed error that names the file fails. */
function refused(error: unknown): false {
  if (!(error instanceof TareError)) throw error;
  expect(error.message).toMatch(/^Cannot (read|parse) /);
  expect(error.path).toMatch(/^x\.mlir/);
  return false;
}

/**
 * Reads bytecode, and checks what must hold of what is not refused: blobs lie apart and inside, and what is detached
 * reads as a thin file that takes the same bytes back.
 */
async function attempt(bytes: Uint8Array): Promise<boolean> {
  let file: MlirBytecode;
  try {
    file = await readBytecode(memorySource(bytes, "x.mlirbc"));
    bytecodeManifest(file);
  } catch (error) {
    return refused(error);
  }
  const blobs = detachableBlobs(file);
  let end = 0;
  for (const { offset, length } of blobs) {
    expect(offset).toBeGreaterThanOrEqual(end);
    end = offset + length;
  }
  expect(end).toBeLessThanOrEqual(bytes.length);
  const manifest = manifestOf(blobs);
  const thin = render(thinBytecode(file, manifest), bytes);
  const read = await readBytecode(memorySource(thin, "thin"));
  expect(new Set(declaredKeys(read))).toEqual(
    new Set([...declaredKeys(file), ...blobs.map((blob) => blob.key)]),
  );
  expect(bytecodeManifest(read)).toEqual(manifest);
  const data = blobs.map((blob): [string, Uint8Array] => [
    blob.key,
    bytes.slice(blob.offset, blob.offset + blob.length),
  ]);
  const full = render(fillBytecode(read, manifest.weights).pieces, thin, new Map(data));
  const again = await readBytecode(memorySource(full, "full"));
  expect(builtinResources(again).map((each) => each.name)).toEqual(
    builtinResources(file).map((each) => each.name),
  );
  for (const { key, offset, length } of detachableBlobs(again)) {
    const bytesOf = Buffer.from(full.subarray(offset, offset + length));
    expect(bytesOf.equals(new Map(data).get(key) as Uint8Array)).toBe(true);
  }
  return true;
}

async function attemptText(text: string): Promise<boolean> {
  const bytes = new TextEncoder().encode(text);
  const read = async (from: Uint8Array): Promise<Awaited<ReturnType<typeof readMlirText>>> =>
    readMlirText(memorySource(from, "x.mlir"));
  let file: Awaited<ReturnType<typeof read>>;
  let blobs: Awaited<ReturnType<typeof textBlobs>>;
  try {
    file = await read(bytes);
    blobs = await textBlobs(file);
    textManifest(file);
  } catch (error) {
    return refused(error);
  }
  const manifest = manifestOf(blobs);
  const thin = await read(render(thinText(file, manifest), bytes));
  expect(textManifest(thin)).toEqual(manifest);
  for (const key of missingKeys(thin)) {
    expect([...missingKeys(file), ...blobs.map((blob) => blob.key)]).toContain(key);
  }
  fillText(thin, manifest.weights);
  return true;
}

describe("readBytecode() of damaged files", () => {
  test.each(FILES)("refuses %s cut off anywhere", async (_, bytes) => {
    for (let end = 0; end < bytes.length; end++) expect(await attempt(bytes.slice(0, end))).toBe(false);
  });

  test("reads or refuses files with other bytes", async () => {
    let read = 0;
    const runs = 2000 * EFFORT;
    const hit = fc.record({
      at: fc.nat(2 ** 16),
      value: fc.oneof(fc.nat(255), fc.constantFrom(0, 1, 3, 255, 0xcb)),
    });
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(...FILES),
        fc.array(hit, { minLength: 1, maxLength: 3 }),
        async ([, file], hits) => {
          const bytes = file.slice();
          for (const { at, value } of hits) bytes[at % bytes.length] = value;
          if (await attempt(bytes)) read++;
        },
      ),
      { numRuns: runs },
    );
    // Both ways are taken.
    expect(read).toBeGreaterThan(runs / 50);
    expect(read).toBeLessThan(runs / 1.05);
  });

  test("reads or refuses what structure-aware mutation makes of tables", async () => {
    let read = 0;
    const runs = 2000 * EFFORT;
    const edit = fc.record({
      nth: fc.nat(100),
      value: fc.oneof(fc.nat(40), fc.constantFrom(2 ** 21, 2 ** 32, 2 ** 53 - 1)),
    });
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(...FILES),
        fc.constantFrom(0, 1, 5, 6),
        fc.array(edit, { minLength: 1, maxLength: 2 }),
        async ([, file], section, edits) => {
          if (await attempt(await editSection(file, section, edits))) read++;
        },
      ),
      { numRuns: runs },
    );
    expect(read).toBeGreaterThan(runs / 100);
    expect(read).toBeLessThan(runs / 1.1);
  });
});

/** Other numbers in a section, its length and the padding behind it kept right. */
async function editSection(
  bytes: Uint8Array,
  id: number,
  edits: readonly { nth: number; value: number }[],
): Promise<Uint8Array> {
  const file = await readBytecode(memorySource(bytes));
  const parts: Uint8Array[] = [
    bytes.slice(0, 4),
    encodeVarint(file.version),
    Buffer.from(`${file.producer}\0`),
  ];
  for (const { id: each, offset, length, alignment } of file.sections) {
    let data: Uint8Array = bytes.slice(offset, offset + length);
    if (each === id) for (const { nth, value } of edits) data = editByte(data, nth, value);
    const at = parts.reduce((sum, part) => sum + part.length, 0);
    const head = Buffer.concat([
      Uint8Array.of(each | 0x80),
      encodeVarint(data.length),
      encodeVarint(alignment),
    ]);
    const padding = (alignment - ((at + head.length) % alignment)) % alignment;
    parts.push(head, new Uint8Array(padding).fill(0xcb), data);
  }
  return new Uint8Array(Buffer.concat(parts));
}

function editByte(data: Uint8Array, nth: number, value: number): Uint8Array {
  const at = nth % Math.max(1, data.length);
  return new Uint8Array(Buffer.concat([data.subarray(0, at), encodeVarint(value), data.subarray(at + 1)]));
}

describe("readMlirText() of damaged files", () => {
  test.each(TEXTS)("refuses %s cut off anywhere in its resources", async (_, text) => {
    for (let end = text.indexOf("\n{-#") + 4; end < text.indexOf("#-}") + 3; end++) {
      expect(await attemptText(text.slice(0, end))).toBe(false);
    }
    // Before them it is a program without any, or one that ends within a string.
    for (let end = 0; end < text.indexOf("\n{-#"); end++) await attemptText(text.slice(0, end));
  });

  test("reads or refuses texts with other pieces", async () => {
    let read = 0;
    const runs = 2000 * EFFORT;
    const piece = fc.constantFrom(
      '"',
      "\\",
      "{",
      "}",
      ":",
      ",",
      "{-#",
      "#-}",
      "//",
      "\n",
      "0x",
      "dense_resource<",
      "ml_program.global @x(",
      "#extern = #ml_program.extern",
      "#ml_program.extern) : tensor<1xi8>",
      "é",
    );
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(...TEXTS),
        fc.array(fc.record({ at: fc.nat(2 ** 16), cut: fc.nat(3), piece }), { minLength: 1, maxLength: 3 }),
        async ([, original], edits) => {
          let text = original;
          for (const { at, cut, piece } of edits) {
            const place = at % text.length;
            text = text.slice(0, place) + piece + text.slice(place + cut);
          }
          if (await attemptText(text)) read++;
        },
      ),
      { numRuns: runs },
    );
    expect(read).toBeGreaterThan(runs / 50);
    expect(read).toBeLessThan(runs / 1.1);
  });
});
