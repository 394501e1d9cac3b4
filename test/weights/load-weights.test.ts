import { describe, expect, test } from "vitest";
import { draftWeights } from "../../src/weights/draft.ts";
import { hashWeight } from "../../src/weights/hash-weight.ts";
import { mapWeights, readWeights, streamWeights } from "../../src/weights/load-weights.ts";
import { memoryWeights } from "../../src/weights/memory.ts";
import { mergeWeightSources } from "../../src/weights/merged.ts";
import type { WeightSource, WeightLayout } from "../../src/weights/weight-source.ts";
import { requireWeights } from "../../src/weights/require-weights.ts";
import { loadWeight } from "../../src/weights/load-weight.ts";
import { openWeights } from "../../src/weights/open-weights.ts";
import { readWeight } from "../../src/weights/read-weight.ts";
import type { DType } from "../../src/tensor/dtype.ts";
import { createSha256 } from "../../src/node/sha256.ts";
import { type AllocatingSource, allocatingSource } from "../support/allocating-source.ts";
import { counting } from "../support/bytes.ts";
import { thrown } from "../support/thrown.ts";
import { LONG } from "../support/speed.ts";

const MIB = 1024 * 1024;
const WEIGHTS = 6;
const EACH = 9 * MIB;
const TOTAL = WEIGHTS * EACH;
/** Pieces of the library's own choice. */
const PIECE = 4 * MIB;

/** Weights of 9 MiB each, in a source that counts. */
function large(): { data: WeightSource; source: AllocatingSource } {
  const source = allocatingSource(TOTAL, (offset) => (offset / 4096) % 251);
  const weights = Array.from({ length: WEIGHTS }, (_, nth) => ({
    name: `w${nth}`,
    dtype: "uint8" as DType,
    shape: [EACH],
    at: { file: 0, offset: nth * EACH, length: EACH },
  }));
  const methods = [{ name: "main", file: 0, weights, constants: [] }];
  return { data: draftWeights({ format: "x", methods, files: [{ path: "m", source }] }), source };
}

describe("memory while weights are loaded", () => {
  test("streamed: a piece, and the one before it", async () => {
    const { data, source } = large();
    let bytes = 0;
    for await (const { chunks } of streamWeights(data, { chunk: MIB })) {
      for await (const chunk of chunks) bytes += chunk.byteLength;
    }
    expect([bytes, source.given]).toEqual([TOTAL, TOTAL]);
    expect(source.peak).toBeLessThanOrEqual(2 * MIB);
    expect(await source.held()).toBeLessThanOrEqual(MIB);
  });

  test("into memory of the engine's own: the weights once, and a piece or two", async () => {
    const { data, source } = large();
    const targets = data.keys().map(() => new Uint8Array(EACH));
    for (const [nth, key] of data.keys().entries()) await loadWeight(data, key, targets[nth] as Uint8Array);
    expect(source.given).toBe(TOTAL);
    expect(source.peak).toBeLessThanOrEqual(2 * PIECE);
    expect(targets.map((target) => target[4096])).toEqual(
      targets.map((_, nth) => (nth * (EACH / 4096) + 1) % 251),
    );
  });

  test("read, one at a time: a weight, and the one before it", async () => {
    const { data, source } = large();
    let first = 0;
    for await (const weight of readWeights(data)) first += weight.bytes[4096] as number;
    expect(first).toBeGreaterThan(0);
    expect(source.given).toBe(TOTAL);
    expect(source.peak).toBeLessThanOrEqual(2 * EACH);
  });

  test("read and kept: the weights once, not a byte more", async () => {
    const { data, source } = large();
    const kept: Uint8Array[] = [];
    for await (const weight of readWeights(data)) kept.push(weight.bytes);
    expect(source.given).toBe(TOTAL);
    expect(source.peak).toBe(TOTAL);
    expect(await source.held()).toBe(TOTAL);
    expect(kept).toHaveLength(WEIGHTS);
  });

  test("freed: nothing", async () => {
    const { data, source } = large();
    const held = await readWeight(data, "w0");
    expect(await source.held()).toBe(EACH);
    held.free();
    expect(await source.held()).toBe(0);
    expect(await thrown(async () => held.bytes)).toMatchObject({ code: "released", tensor: "w0" });
  });

  test("hashed, merged and required: pieces", LONG, async () => {
    const { data, source } = large();
    const other = large();
    const options = { createDigest: createSha256 };
    await hashWeight(data, "w0", options);
    const merged = await mergeWeightSources([data, other.data], options);
    const expected = merged.keys().map((name) => ({ ...(merged.layout(name) as WeightLayout), name }));
    await requireWeights(expected, data, options);
    expect(source.given).toBe(TOTAL + EACH + TOTAL);
    expect(source.peak).toBeLessThanOrEqual(2 * PIECE);
    expect(other.source.peak).toBeLessThanOrEqual(2 * PIECE);
  });
});

describe("readWeights()", () => {
  const live = memoryWeights({
    a: { dtype: "uint8", shape: [4], bytes: counting(4) },
    b: { dtype: "uint8", shape: [5], bytes: counting(5) },
  });

  test("frees a weight when the next is asked for, or when it is left", async () => {
    const seen: { readonly bytes: Uint8Array }[] = [];
    for await (const weight of readWeights(live)) {
      seen.push(weight);
      expect(weight.bytes.byteLength).toBe(seen.length + 3);
    }
    expect(seen).toHaveLength(2);
    for (const weight of seen)
      expect(await thrown(async () => weight.bytes)).toMatchObject({ code: "released" });
  });

  test("loads what is asked for, in that order", async () => {
    const keys: string[] = [];
    for await (const { key } of readWeights(live, { keys: ["b", "a", "b"] })) keys.push(key);
    for await (const { key } of streamWeights(live, { keys: ["b"] })) keys.push(key);
    expect(keys).toEqual(["b", "a", "b", "b"]);
    for (const loading of [
      readWeights(live, { keys: ["a", "c"] }),
      streamWeights(live, { keys: ["a", "c"] }),
    ]) {
      // Before anything was given.
      expect(await thrown(loading.next())).toMatchObject({ code: "missing-weight", tensor: "c" });
    }
  });

  test("stops when it is aborted", async () => {
    const signal = AbortSignal.abort(new RangeError("enough"));
    await expect(readWeights(live, { signal }).next()).rejects.toThrow("enough");
    await expect(streamWeights(live, { signal }).next()).rejects.toThrow("enough");
  });
});

describe("mapWeights()", () => {
  const path = new URL("../../fixtures/charlm/base.safetensors", import.meta.url).pathname;

  test("says where each weight lies, and refuses what is in no file", async () => {
    await using data = await openWeights(path);
    const mapped = await mapWeights(data);
    expect(mapped.map(({ key }) => key)).toEqual(data.keys());
    expect(new Set(mapped.map((each) => each.path))).toEqual(new Set([path]));
    expect(await mapWeights(data, { keys: [] })).toEqual([]);
    const live = memoryWeights({ w: { dtype: "uint8", shape: [4], bytes: counting(4) } }, "live");
    expect(await thrown(mapWeights(live))).toMatchObject({
      code: "unsupported",
      tensor: "w",
      message: 'Cannot map weight "w" of "live": no file has it as plain bytes',
    });
    expect(await thrown(mapWeights(data, { keys: ["no"] }))).toMatchObject({ code: "missing-weight" });
  });
});
