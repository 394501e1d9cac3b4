import { mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { writeSafetensors } from "../../src/formats/safetensors/write.ts";
import { fsck } from "../../src/local-store/fsck.ts";
import { MediaType, REF_NAME } from "../../src/model/manifest.ts";
import { transact } from "../../src/store/transaction.ts";
import { readModel } from "../../src/store/read-model.ts";
import { openStore, type TareStore } from "../../src/tare-store.ts";
import { type Home, home } from "../support/home.ts";
import { putInShard } from "../support/put-in-shard.ts";
import { rot } from "../support/rot.ts";
import { thrown } from "../support/thrown.ts";

function checkpoint(seed: number): Uint8Array {
  const bytes = new Uint8Array(20_000).map((_, at) => (at * seed) & 0xff);
  return writeSafetensors({
    w: { dtype: "uint8", shape: [bytes.length], bytes },
    b: { dtype: "uint8", shape: [3], bytes: new Uint8Array([seed, 1, 2]) },
  });
}

/** A store with the models "a" and "b/x". */
async function place(): Promise<Home> {
  const at = await home();
  for (const [seed, name] of ["a", "b/x"].entries()) {
    const path = join(at.folder, `${seed}.safetensors`);
    await writeFile(path, checkpoint(seed + 1));
    await at.store.add([path], { as: name });
  }
  return at;
}

async function names(path: string): Promise<string[]> {
  return (await (await openStore({ path })).list()).map(({ name }) => name);
}

async function expectModels({ store, folder }: Home, models: Record<string, number>): Promise<void> {
  expect((await store.verify({ full: true })).problems).toEqual([]);
  expect(await names(store.path)).toEqual(Object.keys(models).sort());
  for (const [name, seed] of Object.entries(models)) {
    const out = join(folder, `out-${seed}-${Math.random()}`);
    await store.export(name, out);
    const [file = ""] = await readdir(out).catch(() => [""]);
    expect(new Uint8Array(await readFile(file === "" ? out : join(out, file)))).toEqual(checkpoint(seed));
  }
}

/** Replaces the manifest of a model by one without a name, as an older version made it. @returns its digest */
async function forgetName(store: TareStore, name: string): Promise<string> {
  const { digest, manifest } = await readModel(store, name);
  const { annotations, ...unnamed } = manifest;
  expect(annotations).toEqual({ [REF_NAME]: name });
  return transact(store, async (transaction) => {
    const put = await transaction.put(MediaType.manifest, unnamed);
    // Blobs without a name are kept only by a commit.
    await transaction.commit(async () => true);
    await rm(store.blobPath(digest));
    return put.digest;
  });
}

describe("fsck()", () => {
  test.each([
    ["lost", undefined],
    ["empty", ""],
    ["damaged", '{"schemaVersion": 2, "manifests": [{'],
    ["without models", '{"schemaVersion":2,"manifests":[]}'],
  ])("makes an index again that is %s", async (what, text) => {
    const at = await place();
    const { path } = at.store;
    await rm(join(path, "index.json"));
    if (text !== undefined) await writeFile(join(path, "index.json"), text);
    if (what !== "without models") {
      const error = await thrown(openStore({ path }));
      expect(error.hint).toContain("tare fsck");
    }
    const result = await fsck(path);
    expect(result).toMatchObject({ rebuilt: true, problems: [], left: [] });
    expect(result.models.map(({ name }) => name)).toEqual(["a", "b/x"]);
    expect(await fsck(path)).toMatchObject({ rebuilt: false, problems: [] });
    await expectModels(at, { a: 1, "b/x": 2 });
    await at.store.gc();
    await expectModels(at, { a: 1, "b/x": 2 });
  });

  test("also without the file that marks a store, and no verb takes it for an empty one", async () => {
    const at = await place();
    const { path } = at.store;
    for (const name of ["index.json", "oci-layout"]) await rm(join(path, name));
    expect(await thrown(openStore({ path }))).toMatchObject({
      code: "not-a-store",
      hint: expect.stringContaining("tare fsck"),
    });
    expect(await fsck(path)).toMatchObject({ rebuilt: true, problems: [] });
    await expectModels(at, { a: 1, "b/x": 2 });
  });

  test("takes the manifest of a repacked model, and the newest of a replaced one", async () => {
    const at = await place();
    await putInShard(at.store, "a");
    const path = join(at.folder, "new.safetensors");
    await writeFile(path, checkpoint(3));
    const before = await readModel(at.store, "b/x");
    await at.store.add([path], { as: "b/x", replace: true });
    const { digest } = await readModel(at.store, "a");
    await rm(join(at.store.path, "index.json"));
    const { models } = await fsck(at.store.path);
    expect(models.find(({ name }) => name === "a")?.digest).toBe(digest);
    await expectModels(at, { a: 1, "b/x": 3, [`recovered-${before.digest.slice(7, 19)}`]: 2 });
  });

  test("recovers a model without a name, and keeps what other tools have", async () => {
    const at = await place();
    const unnamed = await forgetName(at.store, "a");
    const other = await transact(at.store, async (transaction) => {
      const config = await transaction.put("application/vnd.oci.image.config.v1+json", { other: true });
      const document = { schemaVersion: 2, config, layers: [] };
      const { digest } = await transaction.put(MediaType.manifest, document);
      await transaction.commit(async () => true);
      return [digest, config.digest];
    });
    await rm(join(at.store.path, "index.json"));
    await fsck(at.store.path);
    await at.store.gc();
    await expectModels(at, { "b/x": 2, [`recovered-${unnamed.slice(7, 19)}`]: 1 });
    const blobs = await readdir(join(at.store.path, "blobs", "sha256"));
    expect(blobs).toEqual(expect.arrayContaining(other.map((digest) => digest.slice(7))));
  });

  test("says what is missing", async () => {
    const at = await place();
    const { manifest } = await readModel(at.store, "a");
    await rm(at.store.blobPath(manifest.layers[0]?.digest as `sha256:${string}`));
    await rm(join(at.store.path, "index.json"));
    const { models, problems } = await fsck(at.store.path);
    expect(models).toHaveLength(2);
    expect(problems).toMatchObject([{ model: "a", error: { code: "missing-blob" } }]);
  });

  test("refuses a folder that is no store, and makes nothing there", async () => {
    const { folder } = await home();
    const path = join(folder, "photos");
    await mkdir(path);
    expect(await thrown(fsck(path))).toMatchObject({ code: "not-a-store" });
    expect(await readdir(path)).toEqual([]);
  });
});

describe("a store with one broken manifest", () => {
  test("lists, adds, exports and removes, and names the model when it refuses to collect", async () => {
    const at = await place();
    const { digest } = await readModel(at.store, "a");
    await rot(at.store.blobPath(digest), 40);
    expect(await at.store.list()).toMatchObject([
      { name: "a", digest, damaged: { code: "corrupted" } },
      { name: "b/x", fileBytes: checkpoint(2).byteLength },
    ]);
    expect((await at.store.status()).models).toBe(2);
    const path = join(at.folder, "new.safetensors");
    await writeFile(path, checkpoint(3));
    await at.store.add([path], { as: "c" });
    await at.store.add([path], { as: "c" });
    const blobs = await readdir(join(at.store.path, "blobs", "sha256"));
    const error = await thrown(at.store.gc());
    expect(error.message).toContain('the manifest of "a" cannot be read');
    expect(error.hint).toContain("tare rm a");
    expect(await readdir(join(at.store.path, "blobs", "sha256"))).toEqual(blobs);
    await at.store.remove(["a"]);
    await at.store.gc();
    await expectModels(at, { "b/x": 2, c: 3 });
  });

  test("is repaired from the model's file", async () => {
    const at = await place();
    const { digest } = await readModel(at.store, "a");
    await rm(at.store.blobPath(digest));
    expect((await at.store.list())[0]).toMatchObject({ name: "a", damaged: { code: "missing-blob" } });
    const result = await at.store.verify({ repair: [join(at.folder, "0.safetensors")] });
    expect(result).toMatchObject({ problems: [], repaired: 1 });
    await expectModels(at, { a: 1, "b/x": 2 });
  });
});
