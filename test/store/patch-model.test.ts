import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { LocalStore } from "../../src/local-store/local-store.ts";
import type { ModelConfig, Weight } from "../../src/model/config.ts";
import { MediaType, REF_NAME } from "../../src/model/manifest.ts";
import { createSha256 } from "../../src/node/sha256.ts";
import { memoryStore } from "../../src/store/memory-store.ts";
import { patchModel, type WeightPatch } from "../../src/store/patch-model.ts";
import { putManifest } from "../../src/store/put-manifest.ts";
import { readBlob } from "../../src/store/read-blob.ts";
import { readModel } from "../../src/store/read-model.ts";
import { requireModel } from "../../src/store/require-model.ts";
import type { BlobRef, Store } from "../../src/store/store.ts";
import { transact, type Transaction } from "../../src/store/transaction.ts";
import { counting, digestOf, pieces } from "../support/bytes.ts";
import { temporaryFolder } from "../support/temporary.ts";
import { thrown } from "../support/thrown.ts";

const A = counting(64);
const B = counting(32, 100);
const REST = counting(10, 7);

/** Stores "base": a file of ten bytes that are no weight, then weights `a` and `b`. */
async function addBase(store: Store): Promise<void> {
  await transact(store, async (transaction) => {
    const [rest, a, b] = [await put(transaction, REST), await put(transaction, A), await put(transaction, B)];
    const weights = [weight("a", A), weight("b", B)];
    const holes = [
      { offset: 10, length: 64, digest: a.digest },
      { offset: 74, length: 32, digest: b.digest },
    ];
    const config: ModelConfig = {
      version: 1,
      format: "safetensors",
      methods: [{ name: "main", file: 0, weights, constants: [] }],
      files: [{ path: "m.bin", size: 106, skeleton: rest.digest, holes }],
    };
    const layers = [
      { mediaType: MediaType.weight, ...a },
      { mediaType: MediaType.weight, ...b },
      { mediaType: MediaType.skeleton, ...rest },
    ];
    await transaction.name("base", await putManifest(transaction, { config, layers, inside: new Map() }));
  });
}

async function put(transaction: Transaction, bytes: Uint8Array): Promise<BlobRef> {
  await using staged = await transaction.stage(pieces(bytes, 9));
  await staged.commit(staged.digest);
  return { digest: staged.digest, size: staged.size };
}

function weight(name: string, bytes: Uint8Array): Weight {
  return { name, dtype: "uint8", shape: [bytes.byteLength], digest: digestOf(bytes) };
}

/** Adds one to every byte of `a`. */
function increment(): WeightPatch {
  return {
    weight: weight("a", A),
    uses: [{ method: "main", name: "a" }],
    async *apply(source, options) {
      for (let at = 0; at < source.size; at += 16) {
        const before = await source.read(at, 16, options);
        yield { before, after: before.map((byte) => byte + 1) };
      }
    },
  };
}

describe.each([
  ["memory", async () => memoryStore({ createDigest: createSha256 })],
  ["a folder", async () => LocalStore.open(join(await temporaryFolder(), "store"))],
] as const)("patchModel() over %s", (_, open) => {
  test("makes a model that shares what it does not change", async () => {
    const store = await open();
    await addBase(store);
    const base = await readModel(store, "base");
    const seen: number[] = [];
    const options = {
      onProgress: ({ done, total }: { done: number; total: number }) => seen.push(done, total),
    };
    const result = await patchModel(store, base, "new", [increment()], options);
    const model = await readModel(store, "new");
    const changed = A.map((byte) => byte + 1);
    expect(result).toMatchObject({ name: "new", digest: model.digest, newBlobs: 3, sharedBytes: 32 });
    expect(seen.slice(-2)).toEqual([64, 64]);
    expect(await readBlob(store, digestOf(changed))).toEqual(changed);
    expect(model.config.methods[0]?.weights).toEqual([weight("a", changed), weight("b", B)]);
    expect(model.config.files[0]?.holes.map((hole) => hole.digest)).toEqual([digestOf(changed), digestOf(B)]);
    await requireModel(store, model, { full: true });
    expect(await patchModel(store, base, "new", [increment()])).toMatchObject({ newBlobs: 0, newBytes: 0 });
  });

  test("takes bytes that the store has", async () => {
    const store = await open();
    await addBase(store);
    const base = await readModel(store, "base");
    const [, layer] = base.manifest.layers;
    const location = { blob: digestOf(B), offset: 0, length: 32 };
    const replacement = {
      weight: weight("b", B),
      uses: [{ method: "main", name: "b" }],
      stored: async () => ({ digest: digestOf(B), location, layer: layer as NonNullable<typeof layer> }),
    };
    const result = await patchModel(store, base, "same", [replacement]);
    // A manifest has the name of its model: it alone is new.
    const { manifest } = await readModel(store, "same");
    expect(manifest).toEqual({ ...base.manifest, annotations: { [REF_NAME]: "same" } });
    expect(result).toMatchObject({ newBlobs: 1, sharedBytes: 96 });
  });

  test("refuses a base that is not what it was, and leaves the store as it was", async () => {
    const store = await open();
    await addBase(store);
    const base = await readModel(store, "base");
    const patch = increment();
    const lying: WeightPatch = {
      ...patch,
      async *apply(source, options) {
        for await (const { after } of patch.apply(source, options)) yield { before: after, after };
      },
    };
    expect(await thrown(patchModel(store, base, "new", [lying]))).toMatchObject({
      code: "corrupted",
      tensor: "a",
      digest: digestOf(A),
    });
    const blob = { digest: digestOf(A.map((byte) => byte + 1)), size: 64 };
    expect(await store.blobs.has(blob)).toBe(false);
    expect(await store.names.list()).toHaveLength(1);
  });

  test("refuses another model under the name of its base, a taken name, and a bad one", async () => {
    const store = await open();
    await addBase(store);
    const base = await readModel(store, "base");
    expect(await thrown(patchModel(store, base, "no name", []))).toMatchObject({ code: "bad-name" });
    expect(await thrown(patchModel(store, base, "base", [increment()]))).toMatchObject({
      code: "name-taken",
    });
    await patchModel(store, base, "base", [increment()], { replace: true });
    expect(await thrown(patchModel(store, base, "x", [increment()]))).toMatchObject({
      code: "source-changed",
    });
  });

  test("stops when aborted, and leaves the store as it was", async () => {
    const store = await open();
    await addBase(store);
    const abort = new AbortController();
    const patching = patchModel(store, await readModel(store, "base"), "new", [increment()], {
      signal: abort.signal,
      onProgress: () => abort.abort(),
    });
    await expect(patching).rejects.toThrow(/abort/i);
    expect(await store.names.list()).toHaveLength(1);
  });
});
