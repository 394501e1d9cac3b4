import { cp, mkdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { writeSafetensors } from "../../src/formats/safetensors/write.ts";
import { SEAL } from "../../src/local-store/commit-blob.ts";
import { MediaType } from "../../src/model/manifest.ts";
import { manifestBlobs } from "../../src/model/stored-model.ts";
import { readModel } from "../../src/store/read-model.ts";
import { openStore } from "../../src/tare-store.ts";
import { type Home, home } from "../support/home.ts";
import { putInShard } from "../support/put-in-shard.ts";
import { rot } from "../support/rot.ts";

const SIZES = { tiny: 100, small: 40_000, middle: 300_000, large: 5 * 1024 * 1024 };

interface Place extends Home {
  readonly path: string;
  readonly bytes: Buffer;
}

function checkpoint(seed: number): Buffer {
  const tensors = Object.entries(SIZES).map(([name, size], nth) => {
    const bytes = new Uint8Array(size).map((_, at) => (at * 31 + (nth + seed) * 7 + (at >> 8)) & 0xff);
    return [name, { dtype: "uint8" as const, shape: [size], bytes }] as const;
  });
  return Buffer.from(writeSafetensors(Object.fromEntries(tensors)));
}

/** A store with a model "m", and its file beside it. */
async function place(): Promise<Place> {
  const at = await home();
  const bytes = checkpoint(0);
  const path = join(at.folder, "m.safetensors");
  await writeFile(path, bytes);
  await at.store.add([path]);
  return { ...at, path, bytes };
}

/** Paths of the blobs of the model "m", the documents too. */
async function blobsOf({ store }: Place): Promise<string[]> {
  const model = await readModel(store, "m");
  return [{ digest: model.digest }, ...manifestBlobs(model.manifest)].map(({ digest }) =>
    store.blobPath(digest),
  );
}

async function expectWhole({ store, folder, bytes }: Place, name = "m"): Promise<void> {
  expect((await store.verify({ full: true })).problems).toEqual([]);
  const out = join(folder, `out-${name}`);
  await store.export(name, out);
  expect(
    (await readFile((await stat(out)).isDirectory() ? join(out, "m.safetensors") : out)).equals(bytes),
  ).toBe(true);
}

async function isSealed(path: string): Promise<boolean> {
  return (await stat(path)).mtimeMs === SEAL * 1000;
}

describe("TareStore.add() over blobs that rotted and kept their times", () => {
  test.each([
    [0, "m"],
    [-1, "m"],
    [-1, "other"],
  ])("replaces each of them (byte %i, as %s)", async (offset, as) => {
    const at = await place();
    // A manifest has the name of its model, so that an add under another name makes another one.
    for (const path of (await blobsOf(at)).slice(as === "m" ? 0 : 1)) await rot(path, offset);
    await at.store.add([at.path], { as, replace: true });
    await expectWhole(at, as);
  });

  test("replaces the one of a weight that another model has under another name", async () => {
    const at = await place();
    for (const path of (await blobsOf(at)).slice(2)) await rot(path, -1);
    const bytes = Buffer.concat([at.bytes.subarray(0, -SIZES.large), at.bytes.subarray(-SIZES.large)]);
    const header = bytes
      .toString("latin1")
      .replaceAll('"large"', '"grand"')
      .replaceAll('"middle"', '"midsts"');
    await writeFile(join(at.folder, "n.safetensors"), Buffer.from(header, "latin1"));
    await at.store.add([join(at.folder, "n.safetensors")]);
    expect((await at.store.verify({ full: true })).problems.filter(({ model }) => model === "n")).toEqual([]);
  });

  test("stores weights of a shard again, and says that the shard is damaged", async () => {
    const at = await place();
    const shard = at.store.blobPath(await putInShard(at.store, "m"));
    await rot(shard, 64 + 128 + 5);
    await rot(shard, -100);
    await at.store.add([at.path], { as: "other" });
    expect(await isSealed(shard)).toBe(false);
    const { problems } = await at.store.verify();
    expect(problems.filter(({ model }) => model === "m")).toHaveLength(1);
    await at.store.add([at.path]);
    await expectWhole(at);
    await expectWhole(at, "other");
  });

  test("replaces the manifest of a name if only its shard rotted", async () => {
    const at = await place();
    const shard = at.store.blobPath(await putInShard(at.store, "m"));
    // The tiny weight: a new add would find it in its bundle, and keep the manifest of the shard.
    await rot(shard, 64);
    await at.store.add([at.path], { move: true, replace: true });
    await expect(stat(at.path)).rejects.toThrow();
    await expectWhole(at);
  });

  test("never removes the last good copy with --move", async () => {
    const at = await place();
    for (const path of await blobsOf(at)) await rot(path, -1);
    await at.store.add([at.path], { move: true, replace: true });
    await expect(stat(at.path)).rejects.toThrow();
    await expectWhole(at);
  });
});

describe("TareStore.verify()", () => {
  test("takes the seal of a blob with wrong bytes, so that every later check finds it", async () => {
    const at = await place();
    const [, , path = ""] = await blobsOf(at);
    await rot(path, -1);
    expect((await at.store.verify()).problems).toEqual([]);
    expect((await at.store.verify({ full: true })).problems).toHaveLength(1);
    expect(await isSealed(path)).toBe(false);
    expect((await at.store.verify()).problems).toHaveLength(1);
    await at.store.add([at.path], { as: "other" });
    await expectWhole(at);
  });
});

describe("TareStore.verify() that repairs", () => {
  test("takes blobs from the model's file, whether they are damaged or gone", async () => {
    const at = await place();
    const blobs = await blobsOf(at);
    for (const path of blobs.slice(0, 4)) await rot(path, -1);
    for (const path of blobs.slice(4)) await rm(path);
    const result = await at.store.verify({ repair: [at.path] });
    expect(result).toMatchObject({ problems: [], repaired: blobs.length });
    await expectWhole(at);
    await at.store.gc();
    expect((await at.store.status()).unusedBytes).toBe(0);
  });

  test("takes blobs from another store, also for a model that was repacked", async () => {
    const at = await place();
    await putInShard(at.store, "m");
    const backup = await openStore({ path: join(at.folder, "backup") });
    await backup.add([at.path], { as: "copy" });
    const model = await readModel(at.store, "m");
    const shard = model.manifest.layers.find(({ mediaType }) => mediaType === MediaType.shard);
    const path = at.store.blobPath(shard?.digest as `sha256:${string}`);
    await rot(path, 100);
    await rot(path, -200);
    await rot(at.store.blobPath(model.manifest.config.digest));
    const { problems, repaired } = await at.store.verify({ repair: [backup.path] });
    expect(problems).toEqual([]);
    expect(repaired).toBe(2);
    await expectWhole(at);
    expect((await readModel(at.store, "m")).digest).toBe(model.digest);
  });

  test("takes a blob from a file of its bytes, and a bundle that is gone from its weights", async () => {
    const at = await place();
    const model = await readModel(at.store, "m");
    const [first, bundle] = [MediaType.weight, MediaType.bundle].map((type) =>
      at.store.blobPath(
        model.manifest.layers.find(({ mediaType }) => mediaType === type)?.digest as `sha256:${string}`,
      ),
    );
    const copy = join(at.folder, "copy.bin");
    await cp(first as string, copy);
    await rot(first as string);
    await rm(bundle as string);
    const other = join(at.folder, "other");
    await mkdir(other);
    await writeFile(join(other, "x.safetensors"), at.bytes);
    expect((await at.store.verify({ repair: [copy] })).problems).toHaveLength(1);
    expect(await at.store.verify({ repair: [other] })).toMatchObject({ problems: [], repaired: 1 });
    await expectWhole(at);
  });

  test("says what stays damaged, and leaves places and other models as they are", async () => {
    const at = await place();
    const other = join(at.folder, "other.safetensors");
    await writeFile(other, checkpoint(1));
    const blobs = (await at.store.status()).blobs;
    const [, , path = ""] = await blobsOf(at);
    await rot(path);
    const { problems, repaired } = await at.store.verify({ repair: [other] });
    expect(problems).toMatchObject([{ model: "m", error: { code: "corrupted" } }]);
    expect(repaired).toBe(0);
    expect((await readFile(other)).equals(checkpoint(1))).toBe(true);
    expect((await at.store.status()).blobs).toBe(blobs);
    await expect(at.store.verify({ repair: [join(at.folder, "absent")] })).rejects.toMatchObject({
      code: "not-found",
    });
  });
});
