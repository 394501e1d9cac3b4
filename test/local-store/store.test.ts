import { createHash } from "node:crypto";
import { chmod, copyFile, cp, mkdir, readdir, readFile, rm, stat, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import type { CharlmModel } from "../../fixtures/charlm/rebuild-gguf.mjs";
import { openStore, type TareStore } from "../../src/tare-store.ts";
import { defaultStorePath } from "../../src/local-store/default-path.ts";
import { CHARLM_GRAPHS, CHARLM_MODELS, charlm } from "../support/charlm.ts";
import { prepareStore } from "../support/prepared-store.ts";
import { temporaryFolder } from "../support/temporary.ts";
import { describeModel } from "../../src/operations/describe.ts";
import { diff } from "../../src/operations/diff/diff.ts";
import { link } from "../../src/link/link-folder.ts";
import { familyMap } from "../../src/operations/family-map.ts";

let family: string;
beforeAll(async () => {
  family = await charlm();
});

async function familyStore(models: readonly CharlmModel[] = CHARLM_MODELS): Promise<TareStore> {
  const path = join(await temporaryFolder(), "store");
  if (models.length > 0) await prepareStore(path, "onnx", models);
  return openStore({ path });
}

describe("openStore()", () => {
  test("makes an OCI image layout", async () => {
    const store = await familyStore(["base"]);
    expect(JSON.parse(await readFile(join(store.path, "oci-layout"), "utf8"))).toEqual({
      imageLayoutVersion: "1.0.0",
    });
    const index = JSON.parse(await readFile(join(store.path, "index.json"), "utf8"));
    expect(index).toMatchObject({
      schemaVersion: 2,
      manifests: [
        {
          mediaType: "application/vnd.oci.image.manifest.v1+json",
          artifactType: "application/vnd.tare.model.v1",
          annotations: { "org.opencontainers.image.ref.name": "base" },
        },
      ],
    });
    for (const name of await readdir(join(store.path, "blobs", "sha256"))) {
      const path = join(store.path, "blobs", "sha256", name);
      expect(
        createHash("sha256")
          .update(await readFile(path))
          .digest("hex"),
      ).toBe(name);
      expect((await stat(path)).mode & 0o777).toBe(0o444);
    }
  });

  test("refuses a folder that is something else", async () => {
    const folder = await temporaryFolder();
    await writeFile(join(folder, "thesis.txt"), "precious");
    await expect(openStore({ path: folder })).rejects.toMatchObject({ code: "not-a-store", path: folder });
    expect(await readdir(folder)).toEqual(["thesis.txt"]);
  });

  test("refuses a store that a newer tare made", async () => {
    const store = await familyStore([]);
    const path = join(store.path, "index.json");
    const index = JSON.parse(await readFile(path, "utf8"));
    index.annotations["dev.tare.store.version"] = "2";
    await writeFile(path, JSON.stringify(index));
    await expect(openStore({ path: store.path })).rejects.toMatchObject({ code: "newer-version" });
  });

  test("goes on where another was killed while it made the store", async () => {
    const store = await familyStore([]);
    await rm(join(store.path, "oci-layout"));
    await expect(openStore({ path: store.path })).resolves.toBeDefined();
  });
});

describe("defaultStorePath()", () => {
  test("prefers TARE_STORE, then the XDG data folder, then home", () => {
    expect(defaultStorePath({ TARE_STORE: "/a", XDG_DATA_HOME: "/b" })).toBe("/a");
    expect(defaultStorePath({ XDG_DATA_HOME: "/b" })).toBe("/b/tare");
    expect(defaultStorePath({})).toMatch(/\.local\/share\/tare$/);
  });
});

describe("TareStore.add()", () => {
  test("stores what models share once", async () => {
    const store = await familyStore();
    const { fileBytes, storedBytes, unusedBytes } = await store.status();
    const distinct = new Map<string, number>();
    for (const model of (await familyMap(store)).models)
      for (const each of model.weights) distinct.set(each.digest, each.bytes);
    const ideal = [...distinct.values()].reduce((sum, bytes) => sum + bytes, 0);
    expect(fileBytes).toBe(50_389_143);
    expect(unusedBytes).toBe(0);
    // Programs, tables, and each model's bundle of small weights come on top of the ideal.
    expect(storedBytes).toBeLessThan(ideal + 400_000);
  });

  test("gives all models of a family the same program for each graph", async () => {
    const store = await familyStore();
    for (const graph of CHARLM_GRAPHS) {
      const programs = new Set<string>();
      for (const model of CHARLM_MODELS) {
        programs.add(
          (await describeModel(store, model)).methods.find((method) => method.name === graph)?.program ??
            "none",
        );
      }
      expect(programs.size).toBe(1);
    }
  });

  test("is idempotent", async () => {
    const store = await familyStore(["base"]);
    const again = await store.add([join(family, "base")]);
    expect(again).toMatchObject({ name: "base", newBytes: 0, newBlobs: 0 });
    expect((await store.list()).length).toBe(1);
  });

  test("refuses a name that another model has, and replaces it when told to", async () => {
    const store = await familyStore(["base"]);
    await expect(store.add([join(family, "kjv")], { as: "base" })).rejects.toMatchObject({
      code: "name-taken",
    });
    expect((await store.status()).unusedBytes).toBe(0);
    await store.add([join(family, "kjv")], { as: "base", replace: true });
    expect((await diff(store, "base", "base")).changed).toEqual([]);
  });

  test.each(["", "../x", "a b", "/a", "a/", "x".repeat(129), "ä"])("refuses the name %j", async (name) => {
    const store = await familyStore([]);
    await expect(store.add([join(family, "base")], { as: name })).rejects.toMatchObject({ code: "bad-name" });
  });

  test("takes single files, several as methods, and a folder's companions", async () => {
    const store = await familyStore([]);
    const decoder = join(family, "base", "decoder.onnx");
    await store.add([decoder]);
    await store.add([decoder, join(family, "base", "decoder_with_past.onnx")], { as: "both" });
    const folder = await temporaryFolder();
    await copyFile(decoder, join(folder, "decoder.onnx"));
    await writeFile(join(folder, "tokenizer.json"), "{}");
    await store.add([folder], { as: "companions" });
    const models = await store.list();
    expect(models.map(({ name, methods }) => [name, methods.length])).toEqual([
      ["both", 2],
      ["companions", 1],
      ["decoder", 1],
    ]);
    expect((await describeModel(store, "companions")).files.map((file) => file.path)).toEqual([
      "decoder.onnx",
      "tokenizer.json",
    ]);
  });

  test("says what is wrong with a path", async () => {
    const store = await familyStore([]);
    const empty = await temporaryFolder();
    await expect(store.add([join(empty, "no.onnx")])).rejects.toMatchObject({ code: "not-found" });
    await expect(store.add([empty])).rejects.toMatchObject({ code: "unknown-format" });
    await writeFile(join(empty, "x.txt"), "x");
    await expect(store.add([join(empty, "x.txt")])).rejects.toMatchObject({ code: "unknown-format" });
  });

  test("refuses a file that changes while it is added, and leaves the store as it was", async () => {
    const store = await familyStore([]);
    const file = join(await temporaryFolder(), "moving.onnx");
    await copyFile(join(family, "base", "decoder.onnx"), file);
    let touched: Promise<void> | undefined;
    const adding = store.add([file], {
      onProgress: () => {
        touched ??= utimes(file, 1, 1);
      },
    });
    await expect(adding).rejects.toMatchObject({ code: "source-changed", path: file });
    await touched;
    expect(await readdir(join(store.path, "blobs", "sha256"))).toEqual([]);
    expect(await readdir(join(store.path, "tmp"))).toEqual([]);
  });

  test("stops when aborted, and leaves the store as it was", async () => {
    const store = await familyStore(["base"]);
    const before = await readdir(join(store.path, "blobs", "sha256"));
    const abort = new AbortController();
    const adding = store.add([join(family, "licence")], {
      signal: abort.signal,
      onProgress: () => abort.abort(),
    });
    await expect(adding).rejects.toThrow(/abort/i);
    expect(await readdir(join(store.path, "blobs", "sha256"))).toEqual(before);
    expect(await readdir(join(store.path, "tmp"))).toEqual([]);
  });

  test("heals a damaged blob when its model is added again", async () => {
    const store = await familyStore(["base"]);
    const blob = await largestBlob(store);
    await damage(blob);
    expect((await store.verify()).problems).toHaveLength(1);
    await store.add([join(family, "base")]);
    expect((await store.verify({ full: true })).problems).toEqual([]);
  });
});

describe("TareStore.export()", () => {
  test.each(CHARLM_MODELS)("writes the files of %s byte for byte", async (model) => {
    const store = await familyStore();
    const out = join(await temporaryFolder(), "out");
    const result = await store.export(model, out);
    expect(result.bytes).toBe(16_796_381);
    for (const graph of CHARLM_GRAPHS) {
      const [ours, theirs] = await Promise.all(
        [join(out, `${graph}.onnx`), join(family, model, `${graph}.onnx`)].map((path) => readFile(path)),
      );
      expect(ours?.equals(theirs as Buffer)).toBe(true);
    }
  });

  test("refuses to overwrite", async () => {
    const store = await familyStore([]);
    await store.add([join(family, "base", "decoder.onnx")]);
    const out = join(await temporaryFolder(), "x.onnx");
    await writeFile(out, "mine");
    await expect(store.export("decoder", out)).rejects.toMatchObject({ code: "exists", path: out });
    expect(await readFile(out, "utf8")).toBe("mine");
  });

  test("refuses a damaged blob, names where it goes, and leaves nothing behind", async () => {
    const store = await familyStore(["base"]);
    await damage(await largestBlob(store));
    const folder = await temporaryFolder();
    await expect(store.export("base", join(folder, "out"))).rejects.toMatchObject({
      code: "corrupted",
      path: "decoder.onnx",
      offset: expect.any(Number),
    });
    expect(await readdir(folder)).toEqual([]);
  });
});

describe("link()", () => {
  test("makes a folder without a copy of the weights", async () => {
    const store = await familyStore(["base"]);
    const result = await link(store, "base", join(await temporaryFolder(), "view"));
    expect(result.copiedBytes).toBe(0);
    expect(result.linkedBytes + result.reflinkedBytes).toBe((await describeModel(store, "base")).weightBytes);
    expect((await readdir(result.path)).sort()).toEqual([
      "decoder.onnx",
      "decoder_with_past.onnx",
      "weights",
    ]);
  });

  test("copies for readers that refuse linked files", async () => {
    const store = await familyStore(["base"]);
    const result = await link(store, "base", join(await temporaryFolder(), "view"), { copy: true });
    expect(result.linkedBytes).toBe(0);
    expect(result.copiedBytes + result.reflinkedBytes).toBe((await describeModel(store, "base")).weightBytes);
    const [weight] = await readdir(join(result.path, "weights"));
    expect((await stat(join(result.path, "weights", weight as string))).nlink).toBe(1);
  });

  test("refuses a folder that holds something", async () => {
    const store = await familyStore(["base"]);
    const folder = await temporaryFolder();
    await writeFile(join(folder, "x"), "x");
    await expect(link(store, "base", folder)).rejects.toMatchObject({ code: "exists" });
  });
});

describe("diff()", () => {
  test("tells same from changed, by how much, and what an update ships", async () => {
    const store = await familyStore(["base", "kjv"]);
    const found = await diff(store, "base", "kjv");
    expect(found).toMatchObject({ sameProgram: true, onlyInA: { count: 0 }, onlyInB: { count: 0 } });
    expect(found.same.count + found.changed.length).toBe(106);
    // Two norms and seven matrices of block 4, the output norm and the output, in both graphs.
    expect(found.changed).toHaveLength(22);
    const norm = found.changed.find(({ name }) => name === "m.output_norm.weight");
    expect(norm?.difference).toMatchObject({ elements: 192 });
    expect(norm?.difference?.largest).toBeGreaterThan(0);
    expect(found.changedBytes).toBe((await describeModel(store, "kjv")).ownBytes);
  });
});

describe("describeModel()", () => {
  test("says with whom each weight is shared", async () => {
    const store = await familyStore();
    const info = await describeModel(store, "kjv");
    const decoder = info.methods.find((method) => method.name === "decoder");
    const sharing = Object.fromEntries(
      decoder?.weights.map((weight) => [weight.name, weight.sharedWith]) ?? [],
    );
    expect(sharing["m.token_embd.weight"]).toEqual(["base", "licence"]);
    expect(sharing["m.blk.3.ffn_norm.weight"]).toEqual(["base"]);
    expect(sharing["m.output_norm.weight"]).toEqual([]);
    expect(decoder?.signature.inputs).toEqual([
      { name: "input_ids", dtype: "int64", shape: ["batch", "sequence"] },
    ]);
    expect(decoder).toMatchObject({
      family: ["base", "licence"],
      prepackingOperator: undefined,
      weightlessBlocker: undefined,
    });
  });

  test("names the models there are when one is not", async () => {
    const store = await familyStore(["base"]);
    await expect(describeModel(store, "bse")).rejects.toMatchObject({
      code: "not-found",
      hint: expect.stringContaining("base"),
    });
  });
});

describe("TareStore.remove() and gc()", () => {
  test("free what nothing else uses, and no more", async () => {
    const store = await familyStore();
    const { ownBytes } = await describeModel(store, "kjv");
    await store.remove(["kjv"]);
    expect((await store.gc({ dryRun: true })).bytes).toBeGreaterThanOrEqual(ownBytes);
    await store.gc();
    expect((await store.gc()).blobs).toBe(0);
    expect((await store.verify({ full: true })).problems).toEqual([]);
    expect((await store.list()).map((model) => model.name)).toEqual(["base", "licence"]);
  });

  test("remove all or none", async () => {
    const store = await familyStore(["base"]);
    await expect(store.remove(["base", "nobody"])).rejects.toMatchObject({ code: "not-found" });
    expect(await store.list()).toHaveLength(1);
  });

  test("gc refuses to guess when a manifest cannot be read", async () => {
    const store = await familyStore(["base"]);
    const { digest } = await describeModel(store, "base");
    await damage(join(store.path, "blobs", "sha256", digest.slice(7)));
    const before = await readdir(join(store.path, "blobs", "sha256"));
    await expect(store.gc()).rejects.toMatchObject({ code: "corrupted" });
    expect(await readdir(join(store.path, "blobs", "sha256"))).toEqual(before);
  });

  test("gc sweeps what a dead writer left", async () => {
    const store = await familyStore(["base"]);
    await mkdir(join(store.path, "tmp", "host.999999999.1.0123456789ab"), { recursive: true });
    await store.gc();
    // A lease of another machine is left alone for a day; this one began in 1970.
    expect(await readdir(join(store.path, "tmp"))).toEqual([]);
  });
});

describe("TareStore.verify()", () => {
  test("finds a write at once, and quiet damage when every byte is hashed", async () => {
    const store = await familyStore(["base"]);
    const blob = await largestBlob(store);
    const { mtime } = await stat(blob);
    await damage(blob);
    const [problem] = (await store.verify()).problems;
    expect(problem).toMatchObject({
      model: "base",
      error: { code: "corrupted", tensor: expect.any(String) },
    });
    await utimes(blob, mtime, mtime);
    expect((await store.verify()).problems).toEqual([]);
    expect((await store.verify({ full: true })).problems).toHaveLength(1);
  });

  test("reports a blob that is gone, and one that is cut off", async () => {
    const store = await familyStore(["base", "kjv"]);
    const blob = await largestBlob(store);
    await rm(blob);
    expect((await store.verify()).problems).toMatchObject([{ error: { code: "missing-blob" } }]);
    await writeFile(blob, "short");
    expect((await store.verify()).problems).toMatchObject([{ error: { code: "corrupted" } }]);
  });

  test("accepts a store that another tool copied, and seals it by hashing once", async () => {
    const store = await familyStore(["base"]);
    const copy = join(await temporaryFolder(), "copy");
    await cp(store.path, copy, { recursive: true });
    const copied = await openStore({ path: copy });
    expect((await copied.verify()).problems).toEqual([]);
  });
});

/** Changes one byte of a blob, as no tool should. */
async function damage(path: string): Promise<void> {
  const bytes = await readFile(path);
  bytes[bytes.byteLength >> 1] = (bytes[bytes.byteLength >> 1] as number) ^ 1;
  await chmod(path, 0o644);
  await writeFile(path, bytes);
}

async function largestBlob(store: TareStore): Promise<string> {
  const folder = join(store.path, "blobs", "sha256");
  let largest = { path: "", size: 0 };
  for (const name of await readdir(folder)) {
    const { size } = await stat(join(folder, name));
    if (size > largest.size) largest = { path: join(folder, name), size };
  }
  return largest.path;
}
