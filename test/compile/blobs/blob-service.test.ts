import { mkdir, chmod, readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, onTestFinished, test } from "vitest";
import { memorySource } from "../../../src/io/byte-source.ts";
import { BlobConflictError } from "../../../src/compile/blobs/blob-conflict.ts";
import { BlobService, type PutOptions } from "../../../src/compile/blobs/blob-service.ts";
import { digestHex } from "../../../src/tensor/digest.ts";
import { openFolderSink } from "../../../src/local-store/folder-sink.ts";
import { createSha256 } from "../../../src/node/sha256.ts";
import { counting, digestOf, joined, pieces } from "../../support/bytes.ts";
import { temporaryFolder } from "../../support/temporary.ts";
import { thrown } from "../../support/thrown.ts";
import type { BlobSink } from "../../../src/store/store.ts";
import { memoryBlobs } from "../../../src/store/memory-blobs.ts";

const service = (sink: BlobSink = memoryBlobs({ createDigest: createSha256 })): BlobService =>
  new BlobService({ sink, createDigest: createSha256 });

async function folderSink(): Promise<BlobSink> {
  const sink = await openFolderSink(await temporaryFolder());
  onTestFinished(() => sink[Symbol.asyncDispose]());
  return sink;
}

describe.each([
  ["memory", async () => memoryBlobs({ createDigest: createSha256 })],
  ["a folder", folderSink],
] as const)("a BlobService over %s", (_, open) => {
  test("gives back what was put, as bytes, source or stream", async () => {
    const blobs = service(await open());
    const bytes = counting(10_000);
    const digest = digestOf(bytes);
    expect(await blobs.put("a", bytes)).toEqual({ digest, fresh: true });
    expect(await blobs.put("b", memorySource(bytes))).toEqual({ digest, fresh: false });
    expect(await blobs.put("c", pieces(bytes, 999))).toEqual({ digest, fresh: false });
    expect(await blobs.put("d", pieces(counting(9, 3), 2))).toMatchObject({ fresh: true });
    expect(await blobs.put("e", new Uint8Array(0))).toEqual({
      digest: digestOf(new Uint8Array(0)),
      fresh: true,
    });
    expect(blobs.keys()).toEqual(["a", "b", "c", "d", "e"]);
    for (const key of ["a", "b", "c"]) expect(await joined(blobs.stream(key, { chunk: 77 }))).toEqual(bytes);
    expect(await joined(blobs.stream("d"))).toEqual(counting(9, 3));
    expect(await joined(blobs.stream("e"))).toEqual(new Uint8Array(0));
    expect(blobs.get("a")).toEqual({
      digest,
      length: 10_000,
      alignment: 1,
      tag: undefined,
      layout: undefined,
    });
    expect(blobs.get("nowhere")).toBeUndefined();
    expect(await thrown(async () => joined(blobs.stream("nowhere")))).toMatchObject({ code: "not-found" });
  });

  test("keeps a copy of what a producer overwrites", async () => {
    const blobs = service(await open());
    const buffer = new Uint8Array(4);
    async function* reusing(): AsyncGenerator<Uint8Array> {
      for (let piece = 0; piece < 3; piece++) yield buffer.fill(piece);
    }
    await blobs.put("a", reusing());
    buffer.fill(9);
    expect([...(await joined(blobs.stream("a")))]).toEqual([0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2]);
  });

  test("refuses other bytes under a key, naming both, and keeps the first", async () => {
    const sink = await open();
    const blobs = service(sink);
    await blobs.put("w", counting(8));
    const error = await thrown(blobs.put("w", pieces(counting(9), 4)));
    expect(error).toBeInstanceOf(BlobConflictError);
    expect(error).toMatchObject({ code: "duplicate", tensor: "w" });
    expect(error.message).toContain(`"w" has bytes ${digestOf(counting(8))} (8 bytes)`);
    expect(error.message).toContain(`${digestOf(counting(9))} (9 bytes)`);
    expect(await joined(blobs.stream("w"))).toEqual(counting(8));
    // Nothing of it is in the sink either.
    expect(await thrown(sink.open(digestOf(counting(9))))).toMatchObject({ code: "missing-blob" });
  });

  test("keeps nothing of a stream that fails or is aborted, even a silent one", async () => {
    const sink = await open();
    const blobs = service(sink);
    let returned = 0;
    async function* breaking(): AsyncGenerator<Uint8Array> {
      yield counting(100);
      throw new TypeError("the compiler gave up");
    }
    const controller = new AbortController();
    const silent: AsyncIterable<Uint8Array> = {
      [Symbol.asyncIterator]() {
        let asked = 0;
        return {
          next() {
            if (asked++ === 0) return Promise.resolve({ value: counting(100), done: false });
            setImmediate(() => controller.abort(new RangeError("enough")));
            return new Promise(() => {});
          },
          async return() {
            returned++;
            return { value: undefined, done: true };
          },
        };
      },
    };
    await expect(blobs.put("a", breaking())).rejects.toThrow("the compiler gave up");
    await expect(blobs.put("a", silent, { signal: controller.signal })).rejects.toThrow("enough");
    expect(returned).toBe(1);
    await expect(blobs.put("a", counting(4), { signal: AbortSignal.abort() })).rejects.toThrow("abort");
    expect(blobs.keys()).toEqual([]);
    expect(await thrown(sink.open(digestOf(counting(100))))).toMatchObject({ code: "missing-blob" });
    // And the key is free.
    expect(await blobs.put("a", counting(4))).toMatchObject({ fresh: true });
  });

  test("stops a producer that makes more than the layout takes", async () => {
    const blobs = service(await open());
    let made = 0;
    async function* endless(): AsyncGenerator<Uint8Array> {
      for (; ; made++) yield counting(10);
    }
    const layout = { dtype: "float32", shape: [8] } as const;
    expect(await thrown(blobs.put("a", endless(), { layout }))).toMatchObject({ code: "size-mismatch" });
    expect(made).toBe(3);
  });

  test("lets puts of one key at once agree or differ", async () => {
    const blobs = service(await open());
    const same = await Promise.all([1, 2, 3].map(() => blobs.put("a", pieces(counting(50), 7))));
    expect(same.map(({ fresh }) => fresh).filter(Boolean)).toHaveLength(1);
    const other = await Promise.allSettled([1, 2, 3].map((start) => blobs.put("b", counting(50, start))));
    expect(other.filter(({ status }) => status === "fulfilled")).toHaveLength(1);
    expect(blobs.keys()).toEqual(["a", "b"]);
  });
});

describe("BlobService.put()", () => {
  const float = (...shape: number[]): PutOptions => ({ layout: { dtype: "float32", shape } });

  test.each([
    ["another tag", { tag: "a" }, { tag: "b" }, 'tagged "a", and the new value is tagged "b"'],
    ["a tag of what was embedded", {}, { tag: "b" }, 'embedded, and the new value is tagged "b"'],
    ["no tag of what had one", { tag: "a" }, {}, 'tagged "a", and the new value is embedded'],
    ["another shape", float(2, 4), float(8), "float32 [2, 4], and the new value is float32 [8]"],
    [
      "another dtype",
      float(8),
      { layout: { dtype: "int32", shape: [8] } },
      "float32 [8], and the new value is int32 [8]",
    ],
  ] as const)("refuses %s for the same key, naming both", async (_, first, second, message) => {
    const blobs = service();
    await blobs.put("w", counting(32), first);
    const error = await thrown(blobs.put("w", counting(32), second));
    expect(error).toMatchObject({ code: "mismatch", tensor: "w" });
    expect(error.message).toContain(message);
    expect(blobs.get("w")).toMatchObject({ tag: "tag" in first ? first.tag : undefined });
  });

  test("reads nothing for what is refused by its words alone", async () => {
    const blobs = service();
    await blobs.put("w", counting(32), { tag: "a" });
    let read = 0;
    const source = { ...memorySource(counting(32)), read: async () => counting(32, read++) };
    await thrown(blobs.put("w", source, { tag: "b" }));
    await thrown(blobs.put("v", source, float(9)));
    expect(read).toBe(0);
  });

  test.each([
    [float(7), /float32 \[7\] takes 28 bytes, not (32 bytes|over 30 bytes)/],
    [float(9), /float32 \[9\] takes 36 bytes, not 32 bytes/],
    [float(-8), /no tensor has the layout float32 \[-8\]/],
    [float(2 ** 40, 2 ** 40), /no tensor has the layout/],
    [{ layout: { dtype: "q8_0", shape: [31] } }, /no tensor has the layout/],
    [{ layout: { dtype: "pink" as "bool", shape: [32] } }, /no tensor has the layout/],
  ] as const)("refuses a layout that is not that of the bytes: %j", async (options, message) => {
    for (const data of [counting(32), pieces(counting(32), 5)]) {
      const error = await thrown(service().put("w", data, options));
      expect(error).toMatchObject({ code: "size-mismatch", tensor: "w" });
      expect(error.message).toMatch(message);
    }
  });

  test("takes a layout later, and keeps it though the caller changes his", async () => {
    const blobs = service();
    const shape = [2, 4];
    await blobs.put("w", counting(32));
    await blobs.put("w", counting(32), float(...shape));
    await blobs.put("v", counting(32), { layout: { dtype: "float32", shape } });
    shape.push(9);
    await blobs.put("w", counting(32));
    expect(blobs.get("w")?.layout).toEqual({ dtype: "float32", shape: [2, 4] });
    expect(blobs.get("v")?.layout).toEqual({ dtype: "float32", shape: [2, 4] });
  });

  test("aligns a shared blob for all of its keys", async () => {
    const power = fc.integer({ min: 1, max: 40 });
    await fc.assert(
      fc.asyncProperty(fc.array(power, { minLength: 1, maxLength: 4 }), async (alignments) => {
        const blobs = service();
        for (const [nth, alignment] of alignments.entries()) {
          await blobs.put(nth % 2 ? "odd" : `w${nth}`, counting(8), { alignment });
        }
        const { alignment } = blobs.get("w0") as { alignment: number };
        // The least one, found the slow way.
        let least = 1;
        while (!alignments.every((each) => least % each === 0)) least++;
        expect(alignment).toBe(least);
      }),
      { numRuns: 50 },
    );
  });

  test("refuses alignments without a common multiple of up to 64 MiB", async () => {
    const blobs = service();
    await blobs.put("a", counting(8), { alignment: 2 ** 26 });
    const error = await thrown(blobs.put("b", counting(8), { alignment: 3 }));
    expect(error).toMatchObject({ code: "too-large", tensor: "b" });
    expect(blobs.keys()).toEqual(["a"]);
    expect(blobs.get("a")).toMatchObject({ alignment: 2 ** 26 });
  });

  test.each([0, -1, 1.5, Number.NaN, Infinity, 2 ** 26 + 1, 2 ** 53])(
    "refuses alignment %d",
    async (alignment) => {
      await expect(service().put("a", counting(8), { alignment })).rejects.toThrow(RangeError);
    },
  );

  test.each(["", "\ud800", "a\udc00b"])("refuses the key %j", async (key) => {
    expect(await thrown(service().put(key, counting(8)))).toMatchObject({ code: "bad-name" });
  });

  test.each(["", ".", "..", "a/b", "../a", "a\\b", "a\0", "c:", "\udfff"])(
    "refuses the tag %j",
    async (tag) => {
      expect(await thrown(service().put("a", counting(8), { tag }))).toMatchObject({ code: "bad-name" });
    },
  );

  test("refuses a stream of anything but bytes", async () => {
    const words = {
      async *[Symbol.asyncIterator]() {
        yield "word";
      },
    } as unknown as AsyncIterable<Uint8Array>;
    await expect(service().put("a", words)).rejects.toThrow(TypeError);
  });

  test("has room for keys that are names of every object", async () => {
    const blobs = service();
    for (const key of ["__proto__", "constructor", "toString"]) await blobs.put(key, counting(key.length));
    expect(blobs.keys()).toEqual(["__proto__", "constructor", "toString"]);
    expect(blobs.shards().table.get("__proto__")).toMatchObject({ length: 9 });
  });
});

describe("BlobService.merge()", () => {
  const entry = fc.record({
    key: fc.constantFrom("a", "b", "c", "d"),
    start: fc.integer({ min: 0, max: 2 }),
    tag: fc.constantFrom(undefined, "x", "y"),
    alignment: fc.constantFrom(1, 2, 3, 64),
  });
  const filled = async (
    entries: readonly { key: string; start: number; tag: string | undefined; alignment: number }[],
  ) => {
    const blobs = service();
    for (const { key, start, ...options } of entries) {
      await blobs.put(key, counting(16 + start, start), options).catch(() => undefined);
    }
    return blobs;
  };
  const content = (blobs: BlobService) => blobs.keys().map((key) => [key, blobs.get(key)]);

  test("gives the same from either side, or refuses from both and changes nothing", async () => {
    let refused = 0;
    await fc.assert(
      fc.asyncProperty(
        fc.array(entry, { maxLength: 4 }),
        fc.array(entry, { maxLength: 4 }),
        async (one, other) => {
          const sides = await Promise.all([filled(one), filled(other), filled(one), filled(other)]);
          const before = sides.map(content);
          const [a, b, c, d] = sides;
          const results = await Promise.allSettled([a.merge(b), d.merge(c)]);
          expect(results[0].status).toBe(results[1].status);
          expect(content(b)).toEqual(before[1]);
          if (results[0].status === "rejected") {
            refused++;
            expect(content(a)).toEqual(before[0]);
            expect(
              (results[0].reason as BlobConflictError).conflicts.map(({ key, kind }) => [key, kind]),
            ).toEqual(
              ((results[1] as PromiseRejectedResult).reason as BlobConflictError).conflicts.map(
                ({ key, kind }) => [key, kind],
              ),
            );
          } else {
            expect(content(a)).toEqual(content(d));
            expect(a.shards()).toEqual(d.shards());
            for (const key of a.keys()) {
              expect(digestOf(await joined(a.stream(key)))).toBe(a.get(key)?.digest);
            }
          }
        },
      ),
      { numRuns: 200 },
    );
    expect(refused).toBeGreaterThan(10);
  });

  test("lists every conflict", async () => {
    const [a, b] = [service(), service()];
    for (let nth = 0; nth < 9; nth++) {
      await a.put(`key ${nth}`, counting(8));
      await b.put(`key ${nth}`, counting(8, nth % 3 ? 1 : 0), nth % 2 ? { tag: "t" } : {});
    }
    await b.put("new", counting(3));
    const error = (await thrown(a.merge(b))) as BlobConflictError;
    expect(error.conflicts.map(({ key, kind }) => `${key}: ${kind}`)).toEqual([
      "key 1: bytes",
      "key 1: tag",
      "key 2: bytes",
      "key 3: tag",
      "key 4: bytes",
      "key 5: bytes",
      "key 5: tag",
      "key 7: bytes",
      "key 7: tag",
      "key 8: bytes",
    ]);
    expect(error.message).toContain("and 5 more");
    expect(a.get("new")).toBeUndefined();
  });

  test("copies nothing into the sink that it cannot keep", async () => {
    const broken = memoryBlobs({ createDigest: createSha256 });
    const [a, b] = [service(), service(broken)];
    await b.put("one", counting(8));
    await b.put("two", counting(9));
    const { open } = broken;
    broken.open = async (digest) => {
      const source = await open(digest);
      return source.size === 9 ? { ...source, read: async () => counting(9, 1) } : source;
    };
    expect(await thrown(a.merge(b))).toMatchObject({ code: "corrupted", digest: digestOf(counting(9)) });
    expect(a.keys()).toEqual([]);
    await a.merge(a);
  });

  test("takes from a sink that both have, without a copy", async () => {
    const sink = memoryBlobs({ createDigest: createSha256 });
    const [a, b] = [service(sink), service(sink)];
    await b.put("one", counting(8));
    let staged = 0;
    sink.stage = () => Promise.reject(new TypeError(`staged ${staged++}`));
    await a.merge(b);
    expect(await joined(a.stream("one"))).toEqual(counting(8));
    expect(staged).toBe(0);
  });
});

describe("openFolderSink()", () => {
  test("keeps blobs as read-only files named after their digest, and no others", async () => {
    const folder = await temporaryFolder();
    const digest = digestOf(counting(100));
    {
      await using sink = await openFolderSink(folder);
      const blobs = service(sink);
      await blobs.put("a", pieces(counting(100), 30));
      await blobs.put("b", counting(100));
      await thrown(blobs.put("a", counting(5)));
    }
    expect(await readdir(folder, { recursive: true })).toEqual(
      expect.arrayContaining(["sha256", `sha256/${digestHex(digest)}`]),
    );
    expect(await readdir(folder, { recursive: true })).toHaveLength(2);
    expect(new Uint8Array(await readFile(join(folder, "sha256", digestHex(digest))))).toEqual(counting(100));
  });

  test("notices a blob that was written to", async () => {
    const folder = await temporaryFolder();
    await using sink = await openFolderSink(folder);
    const blobs = service(sink);
    const { digest } = await blobs.put("a", counting(100));
    const path = join(folder, "sha256", digestHex(digest));
    await chmod(path, 0o644);
    await writeFile(path, counting(100, 1));
    expect(await thrown(joined(blobs.stream("a")))).toMatchObject({ code: "corrupted", digest, path });
    // Put again by somebody who does not know it, it is replaced.
    await service(sink).put("a", counting(100));
    expect(await joined(blobs.stream("a"))).toEqual(counting(100));
  });

  test("removes what a killed process left", async () => {
    const folder = await temporaryFolder();
    await (await openFolderSink(folder))[Symbol.asyncDispose]();
    const { hostname } = await import("node:os");
    const dead = `${hostname().replace(/[^A-Za-z0-9-]/g, "-")}.999999999.1.0123456789ab`;
    await mkdir(join(folder, ".tare-unfinished", dead), { recursive: true });
    await using _ = await openFolderSink(folder);
    expect(await readdir(join(folder, ".tare-unfinished"))).not.toContain(dead);
  });

  test("refuses a folder that cannot be", async () => {
    const folder = await temporaryFolder();
    await writeFile(join(folder, "file"), "");
    expect(await thrown(openFolderSink(join(folder, "file")))).toMatchObject({ name: "SourceError" });
  });
});
