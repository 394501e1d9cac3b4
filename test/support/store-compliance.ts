import { describe, expect, test } from "vitest";
import { MediaType } from "../../src/model/manifest.ts";
import { readBlob } from "../../src/store/read-blob.ts";
import type { BlobRef, Store, StoredManifest } from "../../src/store/store.ts";
import { transact } from "../../src/store/transaction.ts";
import { counting, digestOf, pieces } from "./bytes.ts";
import { thrown } from "./thrown.ts";

/**
 * What every implementation of `Store` promises. Whoever writes one runs this.
 * @param open makes an empty store, which is removed with the test that asked for it
 */
export function describeStore(name: string, open: () => Promise<Store>): void {
  describe(`${name}: blobs`, () => {
    test("are there, whole, once they are committed, and not before", async () => {
      const store = await open();
      const bytes = counting(10_000);
      const blob = { digest: digestOf(bytes), size: bytes.byteLength };
      await using staged = await store.blobs.stage(pieces(bytes, 999));
      expect(staged).toMatchObject(blob);
      expect(await store.blobs.has(blob)).toBe(false);
      expect(await staged.commit(blob.digest)).toBe(true);
      expect(await store.blobs.has(blob)).toBe(true);
      expect(await store.blobs.has(blob, { full: true })).toBe(true);
      expect(await readBlob(store, blob.digest)).toEqual(bytes);
      await using source = await store.blobs.open(blob.digest);
      expect(source.size).toBe(10_000);
      expect(await source.read(5000, 7)).toEqual(bytes.subarray(5000, 5007));
    });

    test("are there only with their size", async () => {
      const store = await open();
      const { digest, size } = await put(store, counting(10));
      expect(await store.blobs.has({ digest, size: size + 1 })).toBe(false);
    });

    test("may be empty", async () => {
      const store = await open();
      const blob = await put(store, new Uint8Array(0));
      expect(await store.blobs.has(blob)).toBe(true);
      expect(await readBlob(store, blob.digest)).toEqual(new Uint8Array(0));
    });

    test("are the bytes as they passed, whatever their producer writes there next", async () => {
      const store = await open();
      const buffer = new Uint8Array(4);
      async function* reusing(): AsyncGenerator<Uint8Array> {
        for (const value of [1, 2]) yield buffer.fill(value);
      }
      await using staged = await store.blobs.stage(reusing());
      await staged.commit(staged.digest);
      expect(await readBlob(store, staged.digest)).toEqual(new Uint8Array([1, 1, 1, 1, 2, 2, 2, 2]));
    });

    test("that are absent are missing-blob", async () => {
      const store = await open();
      const digest = digestOf(counting(3));
      expect(await store.blobs.has({ digest, size: 3 })).toBe(false);
      expect(await thrown(store.blobs.open(digest))).toMatchObject({ code: "missing-blob", digest });
      expect(await thrown(readBlob(store, digest))).toMatchObject({ code: "missing-blob", digest });
    });

    test("that are committed again change nothing, and are not new", async () => {
      const store = await open();
      const bytes = counting(100);
      await put(store, bytes);
      await using staged = await store.blobs.stage(pieces(bytes, 33));
      expect(await staged.commit(staged.digest)).toBe(false);
      expect(await readBlob(store, staged.digest)).toEqual(bytes);
    });

    test("under another digest than theirs are refused", async () => {
      const store = await open();
      const other = digestOf(counting(8));
      await using staged = await store.blobs.stage(pieces(counting(9), 4));
      expect(await thrown(staged.commit(other))).toMatchObject({ code: "corrupted", digest: other });
      expect(await store.blobs.has({ digest: other, size: 8 })).toBe(false);
      expect(await store.blobs.has(staged)).toBe(false);
    });

    test("that are dropped, or whose stream fails, leave nothing", async () => {
      const store = await open();
      const bytes = counting(100);
      const blob = { digest: digestOf(bytes), size: 100 };
      await (await store.blobs.stage(pieces(bytes, 10)))[Symbol.asyncDispose]();
      expect(await store.blobs.has(blob)).toBe(false);
      async function* failing(): AsyncGenerator<Uint8Array> {
        yield bytes;
        throw new RangeError("mine");
      }
      await expect(store.blobs.stage(failing())).rejects.toThrow(new RangeError("mine"));
      expect(await store.blobs.has(blob)).toBe(false);
    });

    test("stop where a signal says so", async () => {
      const store = await open();
      const abort = new AbortController();
      async function* aborting(): AsyncGenerator<Uint8Array> {
        yield counting(10);
        abort.abort();
        yield counting(10);
      }
      await expect(store.blobs.stage(aborting(), { signal: abort.signal })).rejects.toThrow(/abort/i);
      const { signal } = abort;
      await expect(store.blobs.has(await put(store, counting(1)), { signal })).rejects.toThrow(/abort/i);
    });

    test("that a lease discards go, except what a name needs", async () => {
      const store = await open();
      const needed = await putModel(store, 1);
      await store.names.tag("a", needed);
      const free = await put(store, counting(50));
      await using lease = await store.blobs.lease();
      await lease.sync();
      await lease.discard([free.digest, ...blobsOf(needed).map((blob) => blob.digest)]);
      expect(await store.blobs.has(free)).toBe(false);
      for (const blob of blobsOf(needed)) expect(await store.blobs.has(blob)).toBe(true);
    });
  });

  describe(`${name}: names`, () => {
    test("are listed in order, and resolve to manifests", async () => {
      const store = await open();
      expect(await store.names.list()).toEqual([]);
      expect(await store.names.resolve("a")).toBeUndefined();
      const [one, two] = [await putModel(store, 1), await putModel(store, 2)];
      expect(await store.names.tag("b", one)).toBe(one.descriptor.digest);
      await store.names.tag("a/x.1", two);
      await store.names.tag("c", one);
      expect(await store.names.list()).toEqual([
        { name: "a/x.1", digest: two.descriptor.digest },
        { name: "b", digest: one.descriptor.digest },
        { name: "c", digest: one.descriptor.digest },
      ]);
      expect(await store.names.resolve("c")).toBe(one.descriptor.digest);
    });

    test("are taken from another model only where that is asked for", async () => {
      const store = await open();
      const [one, two] = [await putModel(store, 1), await putModel(store, 2)];
      await store.names.tag("a", one);
      await store.names.tag("a", one);
      expect(await thrown(store.names.tag("a", two))).toMatchObject({
        code: "name-taken",
        hint: expect.stringContaining("--replace"),
      });
      expect(await store.names.resolve("a")).toBe(one.descriptor.digest);
      await store.names.tag("a", two, { replace: true });
      expect(await store.names.resolve("a")).toBe(two.descriptor.digest);
    });

    test("keep the manifest of the same model while it is whole", async () => {
      const store = await open();
      const one = await putModel(store, 1);
      const repacked = await putModel(store, 1, 7);
      expect(repacked.manifest.config).toEqual(one.manifest.config);
      await store.names.tag("a", one);
      expect(await store.names.tag("a", repacked, { replace: true })).toBe(one.descriptor.digest);
      expect(await store.names.resolve("a")).toBe(one.descriptor.digest);
    });

    test.each(["", "../x", "a b", "/a", "a/", "x".repeat(129), "ä"])("are never %j", async (bad) => {
      const store = await open();
      const model = await putModel(store, 1);
      expect(await thrown(store.names.tag(bad, model))).toMatchObject({ code: "bad-name" });
      expect(await store.names.list()).toEqual([]);
    });

    test("are given to no model of which a blob is missing", async () => {
      const store = await open();
      const { manifest, descriptor } = await putModel(store, 1);
      const absent = { ...(manifest.layers[0] as BlobRef), digest: digestOf(counting(77)) };
      const layers = [...manifest.layers, { mediaType: MediaType.weight, ...absent }];
      const broken = { manifest: { ...manifest, layers }, descriptor };
      expect(await thrown(store.names.tag("a", broken))).toMatchObject({
        code: "missing-blob",
        digest: absent.digest,
      });
      const [, layer] = blobsOf({ manifest, descriptor });
      await using lease = await store.blobs.lease();
      await lease.discard([(layer as BlobRef).digest]);
      expect(await thrown(store.names.tag("a", { manifest, descriptor }))).toMatchObject({
        code: "missing-blob",
      });
      expect(await store.names.list()).toEqual([]);
    });

    test("are taken away all or none", async () => {
      const store = await open();
      const model = await putModel(store, 1);
      for (const each of ["a", "b", "c"]) await store.names.tag(each, model);
      expect(await thrown(store.names.untag(["a", "nobody", "b"]))).toMatchObject({
        code: "not-found",
        hint: "Use a name of the store: a, b, c",
      });
      expect(await store.names.list()).toHaveLength(3);
      await store.names.untag(["a", "c"]);
      expect((await store.names.list()).map((tag) => tag.name)).toEqual(["b"]);
      expect(await store.blobs.has(model.descriptor)).toBe(true);
    });

    test("are not lost where many are given and taken at once", async () => {
      const store = await open();
      const model = await putModel(store, 1);
      const names = Array.from({ length: 12 }, (_, index) => `m${String(index).padStart(2, "0")}`);
      await Promise.all(names.map((each) => store.names.tag(each, model)));
      expect((await store.names.list()).map((tag) => tag.name)).toEqual(names);
      const models = await Promise.all([2, 3, 4].map((seed) => putModel(store, seed)));
      const given = await Promise.allSettled(models.map((each) => store.names.tag("one", each)));
      expect(given.filter((each) => each.status === "fulfilled")).toHaveLength(1);
      await Promise.all(names.map((each) => store.names.untag([each])));
      expect((await store.names.list()).map((tag) => tag.name)).toEqual(["one"]);
    });

    test("are not given where a signal says so", async () => {
      const store = await open();
      const model = await putModel(store, 1);
      await expect(store.names.tag("a", model, { signal: AbortSignal.abort() })).rejects.toThrow(/abort/i);
      expect(await store.names.list()).toEqual([]);
    });
  });

  describe(`${name}: a transaction`, () => {
    test("keeps what it named, and says what is new", async () => {
      const store = await open();
      await put(store, counting(5));
      const fresh = await transact(store, async (transaction) => {
        const config = await transaction.put(MediaType.config, { seed: 1 });
        const layers = [];
        for (const bytes of [counting(5), counting(6)]) {
          await using staged = await transaction.stage(pieces(bytes, 2));
          await staged.commit(staged.digest);
          layers.push({ mediaType: MediaType.weight, digest: staged.digest, size: staged.size });
        }
        const manifest = { schemaVersion: 2, config, layers } as const;
        const descriptor = await transaction.put(MediaType.manifest, manifest);
        await transaction.name("a", { manifest, descriptor });
        return transaction.fresh;
      });
      const blob = { digest: digestOf(counting(6)), size: 6 };
      expect(await store.blobs.has(blob)).toBe(true);
      expect(fresh.get(blob.digest)).toBe(6);
      expect(fresh.has(digestOf(counting(5)))).toBe(false);
      expect(fresh.size).toBe(3);
    });

    test("that fails leaves the store as it was", async () => {
      const store = await open();
      const blob = { digest: digestOf(counting(6)), size: 6 };
      const failing = transact(store, async (transaction) => {
        await using staged = await transaction.stage(pieces(counting(6), 2));
        await staged.commit(staged.digest);
        expect(await store.blobs.has(blob)).toBe(true);
        throw new RangeError("mine");
      });
      await expect(failing).rejects.toThrow(new RangeError("mine"));
      expect(await store.blobs.has(blob)).toBe(false);
    });

    test("writes once more where a blob vanished before the name was given", async () => {
      const store = await open();
      const vanishing = await put(store, counting(30));
      const attempts: number[] = [];
      await transact(store, async (transaction, attempt) => {
        attempts.push(attempt);
        const config = await transaction.put(MediaType.config, { seed: 1 });
        if (!(await store.blobs.has(vanishing))) {
          await using staged = await transaction.stage(pieces(counting(30), 7));
          await staged.commit(staged.digest);
        }
        const layers = [{ mediaType: MediaType.weight, ...vanishing }];
        const manifest = { schemaVersion: 2, config, layers } as const;
        const descriptor = await transaction.put(MediaType.manifest, manifest);
        // Another process collects.
        await using other = await store.blobs.lease();
        if (attempt === 1) await other.discard([vanishing.digest]);
        await transaction.name("a", { manifest, descriptor });
      });
      expect(attempts).toEqual([1, 2]);
      expect(await readBlob(store, vanishing.digest)).toEqual(counting(30));
    });

    test("gives up where blobs go on vanishing, and leaves nothing", async () => {
      const store = await open();
      let attempts = 0;
      const model = await putModel(store, 1);
      const absent = { mediaType: MediaType.weight, digest: digestOf(counting(4)), size: 4 };
      const manifest = { ...model.manifest, layers: [absent] };
      const failing = transact(store, async (transaction) => {
        attempts++;
        const descriptor = await transaction.put(MediaType.manifest, manifest);
        await transaction.name("a", { manifest, descriptor });
      });
      expect(await thrown(failing)).toMatchObject({ code: "missing-blob", digest: absent.digest });
      expect(attempts).toBe(4);
      expect(await store.names.list()).toEqual([]);
    });
  });
}

async function put(store: Store, bytes: Uint8Array): Promise<BlobRef> {
  await using staged = await store.blobs.stage(pieces(bytes, 1000));
  const { digest, size } = staged;
  await staged.commit(digest);
  return { digest, size };
}

/** Stores a model of one weight, as far as names look at it. */
async function putModel(store: Store, seed: number, extra?: number): Promise<StoredManifest> {
  const encode = (value: unknown): Uint8Array => new TextEncoder().encode(JSON.stringify(value));
  const sizes = extra === undefined ? [100 + seed] : [100 + seed, 200 + extra];
  const layers = [];
  for (const size of sizes)
    layers.push({ mediaType: MediaType.weight, ...(await put(store, counting(size))) });
  const config = { mediaType: MediaType.config, ...(await put(store, encode({ seed }))) };
  const manifest = { schemaVersion: 2, config, layers } as const;
  const descriptor = { mediaType: MediaType.manifest, ...(await put(store, encode(manifest))) };
  return { manifest, descriptor };
}

function blobsOf({ manifest, descriptor }: StoredManifest): readonly BlobRef[] {
  return [descriptor, manifest.config, ...manifest.layers];
}
