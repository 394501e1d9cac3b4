import { copyFile, mkdir, readdir, readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { Writable } from "node:stream";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { charlmGguf } from "../../fixtures/charlm/rebuild-gguf.mjs";
import { run } from "../../src/cli/run.ts";
import { encodeGgufHeader } from "../../src/formats/gguf/write.ts";
import { writeSafetensors } from "../../src/formats/safetensors/write.ts";
import { type TareStore } from "../../src/tare-store.ts";
import type { Tensors } from "../../src/tensor/tensor.ts";
import { openModel } from "../../src/node/open-model.ts";
import { charlm } from "../support/charlm.ts";
import { type Home, home } from "../support/home.ts";
import { LocalStore } from "../../src/local-store/local-store.ts";
import { withModel } from "../../src/store/with-model.ts";
import { link } from "../../src/link/link-folder.ts";
import { runtimeOf } from "../support/runtime.ts";
import { diff } from "../../src/operations/diff/diff.ts";
import { describeModel } from "../../src/operations/describe.ts";
import { LONG } from "../support/speed.ts";

const fixture = (path: string): string => fileURLToPath(new URL(`../../fixtures/${path}`, import.meta.url));
const SHARDED = [1, 2, 3, 4].map((no) => `model-0000${no}-of-00004.safetensors`);
const INDEX = "model.safetensors.index.json";
const BASE = fixture("charlm/base.safetensors");

let serial = 0;

/** Checks that the original files come out again. */
async function expectExport({ store, folder }: Home, model: string, original: string): Promise<void> {
  const { path } = await store.export(model, join(folder, `out-${serial++}`));
  const files = (await stat(path)).isDirectory() ? await readdir(path) : [""];
  if (files[0] !== "") expect(files.sort()).toEqual((await readdir(original)).sort());
  for (const file of files) {
    const [ours, theirs] = await Promise.all([path, original].map((root) => readFile(join(root, file))));
    expect((ours as Buffer).equals(theirs as Buffer)).toBe(true);
  }
}

async function blobBytes(store: TareStore): Promise<number> {
  const folder = join(store.path, "blobs", "sha256");
  const sizes = await Promise.all(
    (await readdir(folder)).map(async (name) => (await stat(join(folder, name))).size),
  );
  return sizes.reduce((sum, size) => sum + size, 0);
}

async function expectWhole({ store }: Home): Promise<void> {
  expect((await store.verify({ full: true })).problems).toEqual([]);
  expect((await store.status()).unusedBytes).toBe(0);
}

/** A GGUF file of float32 vectors. */
async function writeGguf(path: string, tensors: Readonly<Record<string, Uint8Array>>): Promise<void> {
  const header = encodeGgufHeader({
    metadata: [{ key: "general.architecture", type: "string", value: "llama" }],
    tensors: Object.entries(tensors).map(([name, bytes]) => ({ name, type: 0, shape: [bytes.length / 4] })),
  });
  const file = Buffer.alloc(header.size);
  file.set(header.bytes);
  Object.values(tensors).forEach((bytes, nth) => file.set(bytes, header.offsets[nth]));
  await writeFile(path, file);
}

/** Bytes of one value, over the size from which a weight has a blob of its own. */
const filled = (value: number, bytes = 32 * 1024): Uint8Array =>
  new Uint8Array(new Float32Array(bytes / 4).fill(value).buffer);

async function writeTensors(path: string, tensors: Readonly<Record<string, Uint8Array>>): Promise<void> {
  const vectors: Tensors = Object.fromEntries(
    Object.entries(tensors).map(([name, bytes]) => [
      name,
      { dtype: "float32", shape: [bytes.length / 4], bytes },
    ]),
  );
  await writeFile(path, writeSafetensors(vectors, { format: "pt" }));
}

async function tare(store: TareStore, ...argv: readonly string[]): Promise<{ code: number; text: string }> {
  let text = "";
  const sink = new Writable({
    write(chunk, _, done) {
      text += String(chunk);
      done();
    },
  });
  const code = await run(argv, { stdout: sink, stderr: sink, env: { TARE_STORE: store.path } });
  return { code, text };
}

describe("safetensors models in a store", () => {
  test("come back byte for byte, whatever types and names they have", async () => {
    const here = await home();
    for (const name of ["dtypes", "names", "none", "zero-size"]) {
      const path = fixture(`safetensors/${name}.safetensors`);
      expect(await here.store.add([path])).toMatchObject({ name });
      await expectExport(here, name, path);
    }
    await expectWhole(here);
    const { methods } = await describeModel(here.store, "zero-size");
    expect(methods[0]?.weights.map(({ name, bytes }) => [name, bytes])).toContainEqual(["b", 0]);
  });

  test("are whole with their index, added as a folder or by one shard", async () => {
    const here = await home();
    const model = join(here.folder, "llm");
    await mkdir(model);
    for (const name of [...SHARDED, INDEX])
      await copyFile(fixture(`safetensors/sharded/${name}`), join(model, name));
    await here.store.add([join(model, SHARDED[2] as string)], { as: "by-shard" });
    await expectExport(here, "by-shard", model);
    await writeFile(join(model, "config.json"), '{"model_type": "llama"}');
    const { weights, name } = await here.store.add([model]);
    expect({ weights, name }).toEqual({ weights: 8, name: "llm" });
    await expectExport(here, "llm", model);
    await expectWhole(here);
    const { files, methods } = await describeModel(here.store, "llm");
    expect(files.map(({ path }) => path)).toEqual([...SHARDED, INDEX, "config.json"]);
    expect(methods).toMatchObject([{ name: "model", family: ["by-shard"] }]);
    expect((await diff(here.store, "llm", "by-shard")).same.count).toBe(8);
  });

  test("take a PEFT adapter with its settings", async () => {
    const here = await home();
    const lora = join(here.folder, "fortune-lora");
    await mkdir(lora);
    for (const name of ["adapter_model.safetensors", "adapter_config.json"]) {
      await copyFile(fixture(`charlm/fortune-lora/${name}`), join(lora, name));
    }
    expect((await tare(here.store, "add", lora)).text).toMatch(
      /^added fortune-lora: 337 kB in files, 40 weights/,
    );
    await expectExport(here, "fortune-lora", lora);
    const { methods } = await describeModel(here.store, "fortune-lora");
    expect(methods[0]?.weights[0]?.name).toMatch(/lora_[AB]\.weight$/);
  });

  test("refuse an index that is not of these shards, before anything is stored", async () => {
    const { store, folder } = await home();
    for (const name of SHARDED) await copyFile(fixture(`safetensors/sharded/${name}`), join(folder, name));
    const text = await readFile(fixture(`safetensors/sharded/${INDEX}`), "utf8");
    const add = (): Promise<unknown> => store.add([join(folder, SHARDED[0] as string)]);
    const tensor = "model.layers.0.input_layernorm.bias";
    await writeFile(join(folder, INDEX), text.replace("model.layers.0.input_layernorm.weight", tensor));
    await expect(add()).rejects.toMatchObject({ code: "mismatch", tensor });
    await writeFile(join(folder, INDEX), text.replace(SHARDED[2] as string, "x".repeat(5000)));
    await expect(add()).rejects.toMatchObject({ code: "io" });
    expect(await store.list()).toEqual([]);
    expect(await blobBytes(store)).toBe(0);
  });

  test("are not mixed with others of a folder", async () => {
    const { store, folder } = await home();
    await copyFile(BASE, join(folder, "model.safetensors"));
    await copyFile(fixture("onnx/raw.onnx"), join(folder, "model.onnx"));
    await expect(store.add([folder])).rejects.toMatchObject({
      code: "usage",
      message: expect.stringContaining("of .onnx and .safetensors files"),
      hint: expect.stringContaining("files of one format"),
    });
  });

  test("are shown, listed, compared and drawn; no engine is claimed", async () => {
    const { store, folder } = await home();
    await store.add([BASE]);
    await store.add([fixture("charlm/kjv.safetensors")]);
    expect((await describeModel(store, "base")).engine).toBeUndefined();
    const { code, text } = await tare(store, "show", "base");
    expect(code).toBe(0);
    expect(text).toMatch(/engine +none: the model has weights but no program\n/);
    expect(text).not.toMatch(/inputs|outputs|prepack|maps/);
    expect(text).toMatch(/token_embd.weight +float16 +\[99, 192\] +38 kB +[0-9a-f]{12} +own/);
    expect((await tare(store, "ls")).text).toMatch(/base +4.14 MB .* safetensors +base/);
    const { changed, onlyInA } = await diff(store, "base", "kjv");
    expect(changed[0]?.difference?.changed).toBeGreaterThan(0);
    expect(onlyInA.count).toBeGreaterThan(0);
    expect((await tare(store, "map", "--out", join(folder, "m.svg"))).code).toBe(0);
  });

  test("refuse to be run, loaded and linked, with what to do instead", async () => {
    const { store, folder } = await home();
    await store.add([BASE]);
    const refusal = { code: "unsupported", hint: expect.stringContaining("ONNX or GGUF") };
    await expect(runtimeOf(store).load("base")).rejects.toMatchObject(refusal);
    await expect(runtimeOf(store).loadText("base")).rejects.toMatchObject(refusal);
    await expect(link(store, "base", join(folder, "view"))).rejects.toMatchObject({
      name: "LinkError",
      code: "unsupported",
      hint: "Write its files with: tare export base",
    });
    expect(await readdir(folder)).toEqual(["store"]);
    const { code, text } = await tare(store, "run", "base", "And he said");
    expect(code).toBe(1);
    expect(text).toMatch(/^tare: Cannot run "base": a safetensors model has weights and no program/);
  });
});

describe("safetensors and GGUF models of the same weights", () => {
  /** Bytes of the model's tensors. */
  const WEIGHTS = 4_139_520;
  const expectOneCopy = async (here: Home): Promise<void> => {
    expect((await describeModel(here.store, "st")).ownBytes).toBe(0);
    await expectWhole(here);
    await expectExport(here, "st", BASE);
  };

  test("share them all as they are added", async () => {
    const here = await home();
    const { store } = here;
    await store.add([BASE], { as: "st" });
    const before = await blobBytes(store);
    await store.add([await charlmGguf("base")], { as: "gguf" });
    // Programs, and the small weights that each model has in a bundle of its own.
    expect((await blobBytes(store)) - before).toBeLessThan(80_000);
    await expectOneCopy(here);
    expect((await diff(store, "st", "gguf")).same.count).toBe(48);
  });

  test("share them when the safetensors file comes after the shards", async () => {
    const here = await home();
    const { store, folder } = here;
    for (const model of ["base", "kjv"] as const) await store.add([await charlmGguf(model)], { as: model });
    await link(store, "base", join(folder, "view"));
    const { newBytes } = await store.add([BASE], { as: "st" });
    expect(newBytes).toBeLessThan(80_000);
    await expectOneCopy(here);
    // The next layout gives it the small ones too.
    await link(store, "kjv", join(folder, "view-kjv"));
    await expectOneCopy(here);
    expect(await blobBytes(store)).toBeLessThan(WEIGHTS + 852_304 + 300_000);
    await store.remove(["base", "kjv"]);
    await store.gc();
    await expectExport(here, "st", BASE);
    await expectWhole(here);
    expect(await blobBytes(store)).toBeLessThan(WEIGHTS + 300_000);
  });

  test("share them when the shards are made after both were added", LONG, async () => {
    const here = await home();
    const { store, folder } = here;
    await store.add([BASE], { as: "st" });
    for (const model of ["base", "kjv"] as const) await store.add([await charlmGguf(model)], { as: model });
    await link(store, "kjv", join(folder, "view"));
    await expectOneCopy(here);
    expect(await blobBytes(store)).toBeLessThan(WEIGHTS + 852_304 + 300_000);
    const again = await store.add([BASE], { as: "st" });
    expect(again.newBytes).toBe(0);
    await store.remove(["st"]);
    await store.gc();
    await expectExport(here, "kjv", await charlmGguf("kjv"));
    await expectWhole(here);
    await using session = await runtimeOf(store).loadText("kjv", { contextSize: 64 });
    expect((await session.generate("And", { maxTokens: 4 })).tokens).toHaveLength(4);
  });

  test("keep after the GGUF models are gone what they use, and no more", async () => {
    const here = await home();
    const { store, folder } = here;
    const [a, b, c, d] = [1, 2, 3, 4].map((value) => filled(value, 256 * 1024)) as [
      Uint8Array,
      Uint8Array,
      Uint8Array,
      Uint8Array,
    ];
    const path = join(folder, "st.safetensors");
    await writeTensors(path, { "model.b": b, "model.d": d });
    await writeGguf(join(folder, "one.gguf"), { a, b });
    await writeGguf(join(folder, "two.gguf"), { a, b, c });
    for (const name of ["st.safetensors", "one.gguf", "two.gguf"]) await store.add([join(folder, name)]);
    await link(store, "two", join(folder, "view"));
    expect(await blobBytes(store)).toBeLessThan(4 * a.length + 60_000);
    await expectExport(here, "st", path);
    await store.remove(["one", "two"]);
    await store.gc();
    await expectExport(here, "st", path);
    await expectWhole(here);
    expect(await blobBytes(store)).toBeLessThan(2 * a.length + 20_000);
  });

  test("are used once more where a new layout took their blobs meanwhile", async () => {
    const { store, folder } = await home();
    await store.add([BASE], { as: "st" });
    await store.add([await charlmGguf("base")], { as: "gguf" });
    const files = await LocalStore.open(store.path);
    const seen: string[] = [];
    const size = await withModel(files, "st", async (model) => {
      seen.push(model.digest);
      if (seen.length === 1) await link(store, "gguf", join(folder, "view"));
      const { blob } = model.locations.get(model.config.files[0]?.holes[0]?.digest ?? "sha256:") ?? {};
      await using source = await files.blobs.open(blob ?? "sha256:");
      return source.size;
    });
    expect(size).toBeGreaterThan(WEIGHTS);
    expect(new Set(seen).size).toBe(2);
    await expect(withModel(files, "st", () => Promise.reject(new Error("mine")))).rejects.toThrow("mine");
  });

  test("store nothing twice that is large and has another name", async () => {
    const here = await home();
    const { store, folder } = here;
    const large = filled(7, 6 * 1024 * 1024);
    await writeGguf(join(folder, "g.gguf"), { "blk.0.attn_q.weight": large });
    await store.add([join(folder, "g.gguf")]);
    await link(store, "g", join(folder, "view"));
    await writeTensors(join(folder, "st.safetensors"), { "model.layers.0.self_attn.q_proj.weight": large });
    expect((await store.add([join(folder, "st.safetensors")])).newBytes).toBeLessThan(10_000);
    await expectExport(here, "st", join(folder, "st.safetensors"));
    await expectWhole(here);
  });
});

describe("ONNX and GGUF models of the same weights", () => {
  test("lie in one copy, which both engines' models are given", async () => {
    const here = await home();
    const { store, folder } = here;
    const original = join(await charlm(), "base");
    await store.add([original]);
    const tensors: Record<string, Uint8Array> = {};
    {
      await using model = await openModel([original]);
      for (const { name, dtype, at } of model.draft.methods[0]?.weights.slice(20) ?? []) {
        if (dtype === "float32")
          tensors[name] = (await model.draft.files[at.file]?.source.read(at.offset, at.length)) as Uint8Array;
      }
    }
    const bytes = Object.values(tensors).reduce((sum, each) => sum + each.length, 0);
    expect(bytes).toBeGreaterThan(1_000_000);
    await writeGguf(join(folder, "g.gguf"), tensors);
    const inputs = {
      input_ids: {
        dtype: "int64",
        shape: [1, 3],
        bytes: new Uint8Array(BigInt64Array.of(1n, 37n, 82n).buffer),
      },
    } as const;
    await using before = await runtimeOf(store).load("base", { method: "decoder" });
    const { logits } = await before.run(inputs);
    const blobs = await blobBytes(store);

    await store.add([join(folder, "g.gguf")]);
    await link(store, "g", join(folder, "view"));
    // Shards start weights at pages.
    expect(await blobBytes(store)).toBeLessThan(blobs + 150_000);
    await expectWhole(here);
    await expectExport(here, "base", original);
    // A session from before keeps what it mapped; a new one maps the shard.
    expect((await before.run(inputs)).logits).toEqual(logits);
    await using after = await runtimeOf(store).load("base", { method: "decoder", verify: true });
    expect((await after.run(inputs)).logits).toEqual(logits);
    const { copiedBytes } = await link(store, "base", join(folder, "onnx-view"));
    expect(copiedBytes).toBe(0);

    await store.remove(["g"]);
    await store.gc();
    await expectExport(here, "base", original);
    await store.remove(["base"]);
    await store.gc();
    expect(await blobBytes(store)).toBe(0);
  });
});
