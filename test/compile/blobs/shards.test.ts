import { createHash } from "node:crypto";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { readWeight } from "../../../src/weights/read-weight.ts";
import { memorySource } from "../../../src/io/byte-source.ts";
import { BlobService, type PutOptions } from "../../../src/compile/blobs/blob-service.ts";
import { shardWeights } from "../../../src/compile/blobs/shard-weights.ts";
import type { ShardPlan } from "../../../src/compile/blobs/shard-plan.ts";
import { createSha256 } from "../../../src/node/sha256.ts";
import { counting, digestOf, joined } from "../../support/bytes.ts";
import { thrown } from "../../support/thrown.ts";
import { memoryBlobs } from "../../../src/store/memory-blobs.ts";

interface Put extends PutOptions {
  readonly key: string;
  readonly bytes: Uint8Array;
}

async function filled(puts: readonly Put[]): Promise<BlobService> {
  const blobs = new BlobService({
    sink: memoryBlobs({ createDigest: createSha256 }),
    createDigest: createSha256,
  });
  for (const { key, bytes, ...options } of puts) await blobs.put(key, bytes, options);
  return blobs;
}

/** Reads data files with nothing of tare: a key's bytes, by the plan's numbers. */
function independently(plan: ShardPlan, files: readonly Buffer[]): Map<string, Buffer> {
  return new Map(
    [...plan.table].map(([key, { file, offset, length, digest }]) => {
      const bytes = (files[file] as Buffer).subarray(offset, offset + length);
      expect(`sha256:${createHash("sha256").update(bytes).digest("hex")}`).toBe(digest);
      return [key, bytes];
    }),
  );
}

const puts = fc.uniqueArray(
  fc.record({
    key: fc.string({ minLength: 1, maxLength: 6, unit: "grapheme" }),
    // Few, so that keys share them.
    bytes: fc.integer({ min: 0, max: 6 }).map((nth) => counting(nth * nth * 9, nth)),
    tag: fc.constantFrom(undefined, "base", "lora"),
    alignment: fc.constantFrom(1, 2, 3, 16, 100),
  }),
  { selector: ({ key }) => key, maxLength: 12 },
);
const maxBytes = fc.constantFrom(undefined, 1, 100, 333, 1000);

describe("BlobService.shards()", () => {
  test("lays out each blob once, aligned, in files of bounded size, and what is read back is what was put", async () => {
    await fc.assert(
      fc.asyncProperty(puts, maxBytes, async (all, most) => {
        const blobs = await filled(all);
        const plan = blobs.shards({ maxBytes: most });
        const files: Buffer[] = [];
        for (const file of plan.files)
          files.push(Buffer.from(await joined(blobs.writeShard(file, { chunk: 50 }))));

        expect(files.map((file) => file.byteLength)).toEqual(plan.files.map(({ size }) => size));
        const read = independently(plan, files);
        expect([...read.keys()]).toEqual(all.map(({ key }) => key).sort());
        for (const { key, bytes } of all) expect(read.get(key)).toEqual(Buffer.from(bytes));

        const laid = plan.files.flatMap((file) => file.blobs);
        expect(laid.length).toBe(new Set(all.map(({ bytes }) => digestOf(bytes))).size);
        expect(laid.flatMap(({ keys }) => keys).sort()).toEqual(all.map(({ key }) => key).sort());
        for (const { tag, size, blobs: held } of plan.files) {
          expect(tag === undefined || held.length === 1 || size <= (most ?? Infinity)).toBe(true);
          let end = 0;
          for (const { offset, length, keys } of held) {
            for (const { key, alignment } of all) if (keys.includes(key)) expect(offset % alignment).toBe(0);
            expect(offset).toBeGreaterThanOrEqual(end);
            end = offset + length;
          }
        }
      }),
      { numRuns: 150 },
    );
  });

  test("does not depend on the order of puts", async () => {
    const shuffled = puts.chain((all) =>
      fc.tuple(fc.constant(all), fc.shuffledSubarray(all, { minLength: all.length })),
    );
    await fc.assert(
      fc.asyncProperty(shuffled, maxBytes, async ([one, other], most) => {
        const plans = [await filled(one), await filled(other)].map((blobs) =>
          blobs.shards({ maxBytes: most }),
        );
        expect(plans[0]).toEqual(plans[1]);
        expect([...(plans[0] as ShardPlan).table]).toEqual([...(plans[1] as ShardPlan).table]);
      }),
      { numRuns: 100 },
    );
  });

  test("puts a blob of several tags into the first one's file, and embeds only what no key tags", async () => {
    const blobs = await filled([
      { key: "a", bytes: counting(8), tag: "lora" },
      { key: "b", bytes: counting(8), tag: "base" },
      { key: "c", bytes: counting(8) },
      { key: "d", bytes: counting(9) },
      { key: "e", bytes: counting(10), tag: "lora" },
    ]);
    const { files, table } = blobs.shards();
    expect(files.map(({ tag, index, blobs }) => [tag, index, blobs.map(({ keys }) => keys)])).toEqual([
      ["base", 0, [["a", "b", "c"]]],
      ["lora", 0, [["e"]]],
      [undefined, 0, [["d"]]],
    ]);
    expect([...table.values()].map(({ file, tag }) => [file, tag])).toEqual([
      [0, "lora"],
      [0, "base"],
      [0, undefined],
      [2, undefined],
      [1, "lora"],
    ]);
  });

  test("gives a blob that is too large a file for itself, and embeds in one piece", async () => {
    const blobs = await filled([
      { key: "a", bytes: counting(40), tag: "t" },
      { key: "b", bytes: counting(101), tag: "t" },
      { key: "c", bytes: counting(41), tag: "t" },
      { key: "d", bytes: counting(42), tag: "t", alignment: 64 },
      { key: "e", bytes: counting(300) },
      { key: "f", bytes: counting(301) },
    ]);
    const { files } = blobs.shards({ maxBytes: 100 });
    expect(files.map(({ tag, index, size }) => [tag, index, size])).toEqual([
      ["t", 0, 40],
      ["t", 1, 101],
      ["t", 2, 41],
      ["t", 3, 42],
      [undefined, 0, 601],
    ]);
  });

  test.each([0, -1, 1.5, Number.NaN, Infinity])("refuses files of up to %d bytes", async (most) => {
    expect(() =>
      new BlobService({
        sink: memoryBlobs({ createDigest: createSha256 }),
        createDigest: createSha256,
      }).shards({ maxBytes: most }),
    ).toThrow(RangeError);
  });
});

describe("BlobService.writeShard()", () => {
  test("reads as fast as it is asked, and closes what it opened when it is left", async () => {
    const sink = memoryBlobs({ createDigest: createSha256 });
    const reads: number[] = [];
    let opened = 0;
    const { open } = sink;
    sink.open = async (digest) => {
      const source = await open(digest);
      opened++;
      return {
        ...source,
        read: async (offset, length) => {
          reads.push(length);
          return await source.read(offset, length);
        },
        [Symbol.asyncDispose]: async () => void opened--,
      };
    };
    const blobs = new BlobService({ sink, createDigest: createSha256 });
    await blobs.put("a", counting(100), { tag: "t" });
    await blobs.put("b", counting(101), { tag: "t", alignment: 128 });
    const [file] = blobs.shards().files;
    let pieces = 0;
    for await (const chunk of blobs.writeShard(file as never, { chunk: 10 })) {
      expect(chunk.byteLength).toBeLessThanOrEqual(28);
      expect(reads.length).toBeLessThanOrEqual(++pieces);
      if (pieces === 15) break;
    }
    expect(reads.length).toBeLessThan(15);
    expect(opened).toBe(0);
    const controller = new AbortController();
    const aborted = async (): Promise<void> => {
      for await (const _ of blobs.writeShard(file as never, { chunk: 10, signal: controller.signal })) {
        controller.abort(new TypeError("enough"));
      }
    };
    await expect(aborted()).rejects.toThrow("enough");
    expect(opened).toBe(0);
  });

  test("pads in small pieces", async () => {
    const blobs = await filled([
      { key: "a", bytes: counting(1), tag: "t" },
      { key: "b", bytes: counting(2), tag: "t", alignment: 2 ** 24 },
    ]);
    let size = 0;
    for await (const chunk of blobs.writeShard(blobs.shards().files[0] as never)) {
      expect(chunk.byteLength).toBeLessThanOrEqual(64 * 1024);
      size += chunk.byteLength;
    }
    expect(size).toBe(2 ** 24 + 2);
  });

  test("refuses a plan that overlaps, or of another service", async () => {
    const blobs = await filled([{ key: "a", bytes: counting(8), tag: "t" }]);
    const [file] = blobs.shards().files as [ShardPlan["files"][number]];
    const blob = file.blobs[0] as ShardPlan["files"][number]["blobs"][number];
    await expect(
      joined(blobs.writeShard({ size: 16, blobs: [blob, { ...blob, offset: 7 }] })),
    ).rejects.toThrow(RangeError);
    await expect(joined(blobs.writeShard({ size: 7, blobs: [blob] }))).rejects.toThrow(RangeError);
    expect(await thrown(joined((await filled([])).writeShard(file)))).toMatchObject({ code: "missing-blob" });
  });
});

describe("shardNamedData()", () => {
  test("reads at run time what was put ahead of time", async () => {
    const blobs = await filled([
      { key: "w", bytes: counting(32), tag: "t", layout: { dtype: "float32", shape: [2, 4] } },
      { key: "code", bytes: counting(7, 5) },
    ]);
    const { files, table } = blobs.shards();
    const sources = await Promise.all(
      files.map(async (file) => memorySource(await joined(blobs.writeShard(file)))),
    );
    const data = shardWeights(table, sources);
    expect(data.layout("w")).toEqual({
      dtype: "float32",
      shape: [2, 4],
      length: 32,
      digest: digestOf(counting(32)),
    });
    expect(data.layout("code")).toMatchObject({ dtype: "uint8", shape: [7], length: 7 });
    expect((await readWeight(data, "code")).bytes).toEqual(counting(7, 5));
    expect(() => shardWeights(table, sources.slice(1))).toThrow('Cannot find data file 1, which has "code"');
    expect(() => shardWeights(table, [memorySource(counting(31)), memorySource(counting(7))])).toThrow(
      'Cannot read "w" of "memory": it ends at byte 32, past the end of the file at 31',
    );
  });
});
