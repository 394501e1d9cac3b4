import { chmod, mkdir, readdir, readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { parseGgufHeader } from "../../src/formats/gguf/parse.ts";
import { encodeGgufHeader } from "../../src/formats/gguf/write.ts";
import { openStore, type TareStore } from "../../src/tare-store.ts";
import { temporaryFolder } from "../support/temporary.ts";
import { runtimeOf } from "../support/runtime.ts";
import { diff } from "../../src/operations/diff/diff.ts";
import { describeModel } from "../../src/operations/describe.ts";
import { link } from "../../src/link/link-folder.ts";

/** Writes a GGUF of float32 tensors, each filled with one value. */
async function writeModel(
  path: string,
  name: string,
  tensors: Readonly<Record<string, number>>,
): Promise<void> {
  const shape = [64, 128];
  const { bytes, offsets, size } = encodeGgufHeader({
    metadata: [
      { key: "general.architecture", type: "string", value: "llama" },
      { key: "general.name", type: "string", value: name },
    ],
    tensors: Object.keys(tensors).map((tensor) => ({ name: tensor, type: 0, shape })),
  });
  const file = Buffer.alloc(size);
  file.set(bytes);
  Object.values(tensors).forEach((value, index) => {
    const data = new Float32Array(64 * 128).fill(value);
    file.set(new Uint8Array(data.buffer), offsets[index]);
  });
  await writeFile(path, file);
}

const FAMILY = {
  base: { a: 1, b: 2, c: 3, d: 4 },
  one: { a: 1, b: 2, c: 3, d: 40 },
  two: { a: 1, b: 2, c: 30, d: 41 },
} as const;
/** Bytes of one tensor: over the limit from which a weight has a blob of its own. */
const TENSOR = 64 * 128 * 4;

async function familyStore(
  models: readonly (keyof typeof FAMILY)[],
): Promise<{ store: TareStore; folder: string }> {
  const folder = await temporaryFolder();
  const store = await openStore({ path: join(folder, "store") });
  for (const model of models) {
    await writeModel(join(folder, `${model}.gguf`), model, FAMILY[model]);
    await store.add([join(folder, `${model}.gguf`)]);
  }
  return { store, folder };
}

async function blobBytes(store: TareStore): Promise<number> {
  const folder = join(store.path, "blobs", "sha256");
  const sizes = await Promise.all(
    (await readdir(folder)).map(async (name) => (await stat(join(folder, name))).size),
  );
  return sizes.reduce((sum, size) => sum + size, 0);
}

/** Reads a view as llama.cpp does: every shard's header, and the tensors behind it. */
async function readView(folder: string): Promise<Record<string, number>> {
  const values: [string, number][] = [];
  for (const name of (await readdir(folder)).sort()) {
    const bytes = await readFile(join(folder, name));
    const header = parseGgufHeader(new Uint8Array(bytes), { name, size: bytes.byteLength });
    for (const tensor of header?.tensors ?? []) {
      const data = new Float32Array(
        new Uint8Array(bytes.subarray(tensor.offset, tensor.offset + tensor.length)).buffer,
      );
      expect(new Set(data).size).toBe(1);
      values.push([tensor.name, data[0] as number]);
    }
  }
  return Object.fromEntries(values);
}

describe("GGUF models in a store", () => {
  test("keep only what they changed, and come back byte for byte", async () => {
    const { store, folder } = await familyStore(["base", "one", "two"]);
    // a, b; c twice; d three times.
    expect(await blobBytes(store)).toBeLessThan(7 * TENSOR + 20_000);
    for (const model of Object.keys(FAMILY)) {
      await store.export(model, join(folder, `out-${model}.gguf`));
      const [ours, theirs] = await Promise.all(
        [`out-${model}`, model].map((name) => readFile(join(folder, `${name}.gguf`))),
      );
      expect(ours?.equals(theirs as Buffer)).toBe(true);
    }
  });

  test("are laid out as one shard for each set of models that share, which is then the only copy", async () => {
    const { store, folder } = await familyStore(["base", "one", "two"]);
    const before = await blobBytes(store);
    for (const model of ["base", "one", "two"] as const) {
      const { path, linkedBytes, reflinkedBytes, copiedBytes } = await link(
        store,
        model,
        join(folder, "views", model),
      );
      expect(await readView(path)).toEqual(FAMILY[model]);
      expect(copiedBytes).toBe(0);
      expect(linkedBytes + reflinkedBytes).toBeLessThan(4 * TENSOR + 40_000);
    }
    // Shards start at pages: a little more than before, never twice.
    expect(await blobBytes(store)).toBeLessThan(before + 60_000);
    expect((await store.verify({ full: true })).problems).toEqual([]);
    expect((await store.status()).unusedBytes).toBe(0);
    for (const model of ["base", "one", "two"]) {
      await store.export(model, join(folder, `out-${model}.gguf`));
      expect(
        (await readFile(join(folder, `out-${model}.gguf`))).equals(
          await readFile(join(folder, `${model}.gguf`)),
        ),
      ).toBe(true);
    }
  });

  test("split a shard when a later model shares part of it, and leave older views alone", async () => {
    const { store, folder } = await familyStore(["base", "one"]);
    await mkdir(join(folder, "views"));
    const old = await link(store, "one", join(folder, "views", "old"));
    await writeModel(join(folder, "two.gguf"), "two", FAMILY.two);
    const added = await store.add([join(folder, "two.gguf")]);
    // a and b lie in the foundation's shard already.
    expect(added.newBytes).toBeLessThan(2 * TENSOR + 10_000);
    expect(await readView((await link(store, "two", join(folder, "views", "two"))).path)).toEqual(FAMILY.two);
    expect(await readView((await link(store, "one", join(folder, "views", "one"))).path)).toEqual(FAMILY.one);
    expect(await readView(old.path)).toEqual(FAMILY.one);
    expect((await store.verify({ full: true })).problems).toEqual([]);
    expect(await blobBytes(store)).toBeLessThan(7 * TENSOR + 80_000);
  });

  test("may have the same bytes under several names, in one model or in two", async () => {
    const folder = await temporaryFolder();
    const store = await openStore({ path: join(folder, "store") });
    const models = { one: { a: 1, b: 1, c: 2 }, two: { a: 1 }, three: { x: 1, y: 5 } };
    for (const [name, tensors] of Object.entries(models)) {
      await writeModel(join(folder, `${name}.gguf`), name, tensors);
      await store.add([join(folder, `${name}.gguf`)]);
    }
    for (const [name, tensors] of Object.entries(models)) {
      expect(await readView((await link(store, name, join(folder, "views", name))).path)).toEqual(tensors);
    }
    expect((await store.verify({ full: true })).problems).toEqual([]);
    const digests = (await store.list()).map(({ digest }) => digest);
    await link(store, "one", join(folder, "again"));
    expect((await store.list()).map(({ digest }) => digest)).toEqual(digests);
  });

  test("are the same model however they lie: adding again changes nothing, and heals a damaged shard", async () => {
    const { store, folder } = await familyStore(["base", "one"]);
    await link(store, "one", join(folder, "view"));
    const { digest } = await describeModel(store, "base");
    const blobs = (await readdir(join(store.path, "blobs", "sha256"))).sort();
    expect(await store.add([join(folder, "base.gguf")])).toMatchObject({ digest, newBytes: 0, newBlobs: 0 });
    expect((await readdir(join(store.path, "blobs", "sha256"))).sort()).toEqual(blobs);

    const sizes = await Promise.all(
      blobs.map(async (name) => (await stat(join(store.path, "blobs", "sha256", name))).size),
    );
    const shard = join(store.path, "blobs", "sha256", blobs[sizes.indexOf(Math.max(...sizes))] as string);
    await chmod(shard, 0o644);
    await writeFile(shard, "damaged");
    expect((await store.verify()).problems.length).toBeGreaterThan(0);
    for (const model of ["base", "one"]) await store.add([join(folder, `${model}.gguf`)]);
    expect((await store.verify({ full: true })).problems).toEqual([]);
    expect(await readView((await link(store, "one", join(folder, "again"))).path)).toEqual(FAMILY.one);
  });

  test("are described and compared like any other", async () => {
    const { store } = await familyStore(["base", "one"]);
    const { format, methods } = await describeModel(store, "one");
    expect(format).toBe("gguf");
    expect(methods[0]?.weights.map(({ name, sharedWith }) => [name, sharedWith])).toEqual([
      ["a", ["base"]],
      ["b", ["base"]],
      ["c", ["base"]],
      ["d", []],
    ]);
    const found = await diff(store, "base", "one");
    expect(found.changed).toMatchObject([
      { name: "d", difference: { elements: 8192, changed: 8192, largest: 36 } },
    ]);
  });

  test("are compared by value where they are quantized, in pieces of whole blocks", async () => {
    const folder = await temporaryFolder();
    const blocks = 6000;
    const quantized = Buffer.alloc(blocks * 210);
    // Each block of q6_k: 256 levels of -32, times scales of 1, times 1.
    for (let at = 0; at < quantized.length; at += 210) {
      quantized.fill(1, at + 192, at + 208);
      quantized.writeUInt16LE(0x3c00, at + 208);
    }
    const header = encodeGgufHeader({
      metadata: [{ key: "general.architecture", type: "string", value: "llama" }],
      tensors: [{ name: "q", type: 14, shape: [blocks, 256] }],
    });
    const store = await openStore({ path: join(folder, "store") });
    for (const [name, level] of [
      ["before", 0],
      ["after", 4],
    ] as const) {
      quantized[(blocks - 1) * 210] = level;
      const file = Buffer.alloc(header.size);
      file.set(header.bytes);
      file.set(quantized, header.offsets[0]);
      await writeFile(join(folder, `${name}.gguf`), file);
      await store.add([join(folder, `${name}.gguf`)]);
    }
    expect((await diff(store, "before", "after")).changed.map(({ difference }) => difference)).toEqual([
      {
        elements: blocks * 256,
        changed: 1,
        largest: 4,
        relative: expect.closeTo(4 / 32 / Math.sqrt(blocks * 256), 12),
      },
    ]);
  });

  test("refuse to be run by the engine of another format", async () => {
    const { store } = await familyStore(["base"]);
    await expect(runtimeOf(store).load("base")).rejects.toMatchObject({
      code: "unsupported",
      hint: expect.stringContaining("tare link"),
    });
  });
});
