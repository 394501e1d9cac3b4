import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { copyFile, readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { Writable } from "node:stream";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { describe, expect, test } from "vitest";
import { charlmGguf } from "../../fixtures/charlm/rebuild-gguf.mjs";
import { run } from "../../src/cli/run.ts";
import { type GgufHeader, parseGgufHeader } from "../../src/formats/gguf/parse.ts";
import { encodeGgufHeader } from "../../src/formats/gguf/write.ts";
import { openStore, type TareStore } from "../../src/tare-store.ts";
import { codecOf } from "../../src/tensor/quantization/codec-of.ts";
import { charlm } from "../support/charlm.ts";
import { FORTUNE_DIFFERS, FORTUNE_SHA256 } from "../support/fortune.ts";
import { writeGgufLora } from "../support/lora-models.ts";
import { prepareStore } from "../support/prepared-store.ts";
import { LONG } from "../support/speed.ts";
import { temporaryFolder } from "../support/temporary.ts";
import { runtimeOf } from "../support/runtime.ts";
import { describeModel } from "../../src/operations/describe.ts";
import { merge } from "../../src/operations/merge.ts";
import { diff } from "../../src/operations/diff/diff.ts";
import { link } from "../../src/link/link-folder.ts";

const fixture = (path: string): string =>
  fileURLToPath(new URL(`../../fixtures/charlm/${path}`, import.meta.url));
const DIST = new URL("../../dist/index.js", import.meta.url).href;
const GGUF_LORA = fixture("fortune-lora/fortune-lora-f32.gguf");
const EXPECTED = JSON.parse(await readFile(fixture("fortune-lora/expected.json"), "utf8")) as {
  readonly prompt: string;
  readonly input_ids: number[];
  readonly greedy_ids: number[];
  readonly greedy_text: string;
};

interface Home {
  readonly store: TareStore;
  readonly folder: string;
}

/** A store with `base` as GGUF, and `fortune`. */
async function home(): Promise<Home> {
  const folder = await temporaryFolder();
  await prepareStore(join(folder, "store"), "gguf", ["base"]);
  const store = await openStore({ path: join(folder, "store") });
  await store.add([GGUF_LORA], { as: "fortune" });
  return { store, folder };
}

/** The PEFT adapter as PEFT saved it. */
async function peftFolder(): Promise<string> {
  const folder = await temporaryFolder();
  for (const name of ["adapter_config.json", "adapter_model.safetensors"]) {
    await copyFile(fixture(`fortune-lora/${name}`), join(folder, name));
  }
  return folder;
}

async function blobs(store: TareStore): Promise<string[]> {
  return (await readdir(join(store.path, "blobs", "sha256"))).sort();
}

interface Exported {
  readonly file: Buffer;
  readonly header: GgufHeader;
}

async function exported({ store, folder }: Home, model: string): Promise<Exported> {
  const { path } = await store.export(model, join(folder, `out-${model}.gguf`));
  return ggufFile(path);
}

async function ggufFile(path: string): Promise<Exported> {
  const file = await readFile(path);
  const header = parseGgufHeader(new Uint8Array(file), { name: path, size: file.byteLength });
  return { file, header: header as GgufHeader };
}

function tensorBytesOf({ file, header }: Exported, name: string): Buffer {
  const tensor = header.tensors.find((each) => each.name === name);
  if (!tensor) throw new Error(`no ${name}`);
  return Buffer.from(file.subarray(tensor.offset, tensor.offset + tensor.length));
}

/**
 * Every tensor is what the reference wrote. PyTorch summed up a few products in two chains (even and odd ranks) at the
 * edges of its blocks; there, and only there, it is one float16 off from a sum in order.
 */
function expectReference(model: Exported, names = Object.keys(FORTUNE_SHA256)): void {
  for (const name of names) {
    const digest = FORTUNE_SHA256[name];
    const bytes = tensorBytesOf(model, name);
    for (const [tensor, element, bits] of FORTUNE_DIFFERS) {
      if (tensor !== name) continue;
      expect(Math.abs(bytes.readUInt16LE(2 * element) - bits)).toBe(1);
      bytes.writeUInt16LE(bits, 2 * element);
    }
    expect([name, createHash("sha256").update(bytes).digest("hex")]).toEqual([name, digest]);
  }
}

async function greedy(
  store: TareStore,
  model: string,
  adapters: { model: string; scale: number }[] = [],
): Promise<string> {
  await using session = await runtimeOf(store).loadText(model, { contextSize: 128, adapters });
  return (await session.generate(EXPECTED.prompt, { maxTokens: EXPECTED.greedy_ids.length })).text;
}

describe("merge()", () => {
  test("gives what PyTorch gave, shares the rest, and runs on the stock engine", async () => {
    const at = await home();
    const { store } = at;
    const base = await exported(at, "base");
    const told: number[] = [];
    const result = await merge(store, "base", [{ model: "fortune" }], {
      as: "merged",
      onProgress: ({ done, total }) => told.push(done / total),
    });
    expect(result).toMatchObject({
      name: "merged",
      base: "base",
      weights: 20,
      errorBound: 0,
      sharedBytes: 1_620_480,
    });
    // 20 weights, a config, a manifest (and the table of the small ones, which is the base's).
    expect(result.newBlobs).toBe(22);
    expect(result.newBytes).toBeLessThan(2_519_040 + 40_000);
    expect(told[0]).toBe(0);
    expect(told.at(-1)).toBe(1);
    expect([...told].sort((a, b) => a - b)).toEqual(told);

    const merged = await exported(at, "merged");
    expectReference(merged);
    const untouched = base.header.tensors.filter(({ name }) => !(name in FORTUNE_SHA256));
    expect(untouched).toHaveLength(28);
    for (const { name } of untouched) {
      expect(tensorBytesOf(merged, name).equals(tensorBytesOf(base, name))).toBe(true);
    }
    expect(
      merged.file.subarray(0, merged.header.dataStart).equals(base.file.subarray(0, base.header.dataStart)),
    ).toBe(true);

    const texts = [
      await greedy(store, "merged"),
      await greedy(store, "base", [{ model: "fortune", scale: 1 }]),
    ];
    expect(texts).toEqual([EXPECTED.greedy_text, EXPECTED.greedy_text]);
    expect((await store.verify({ full: true })).problems).toEqual([]);
    expect((await diff(store, "base", "merged")).changed).toHaveLength(20);
  });

  test("gives the same of the LoRA as PEFT saved it", async () => {
    const { store } = await home();
    await store.add([await peftFolder()], { as: "peft" });
    const options = { as: "merged" } as const;
    const { digest } = await merge(store, "base", [{ model: "fortune" }], options);
    // The same model under the same name: nothing is new.
    expect(await merge(store, "base", [{ model: "peft" }], options)).toMatchObject({ digest, newBytes: 0 });
    await expect(merge(store, "base", [{ model: "peft", scale: 2 }], options)).rejects.toMatchObject({
      code: "name-taken",
    });
    await merge(store, "base", [{ model: "peft", scale: 2 }], { ...options, replace: true });
    expect((await describeModel(store, "merged")).digest).not.toBe(digest);
    expect((await store.verify({ full: true })).problems).toEqual([]);
  });

  test("merges into a base that lies in shards, and what comes out lies in shards too", LONG, async () => {
    const at = await home();
    const { store, folder } = at;
    await store.add([await charlmGguf("kjv")], { as: "kjv" });
    await link(store, "base", join(folder, "view"));
    await merge(store, "base", [{ model: "fortune" }], { as: "merged" });
    expectReference(await exported(at, "merged"));
    await link(store, "merged", join(folder, "merged-view"));
    expect(await greedy(store, "merged")).toBe(EXPECTED.greedy_text);
    // Merging again finds every weight where it lies now.
    const again = await merge(store, "base", [{ model: "fortune" }], { as: "again" });
    expect(again.newBytes).toBeLessThan(40_000);
    expect((await store.status()).unusedBytes).toBe(0);
    expect((await store.verify({ full: true })).problems).toEqual([]);
  });

  test("merges into a model that is split over several files", LONG, async () => {
    const at = await home();
    const { store, folder } = at;
    await store.add([await charlmGguf("kjv")], { as: "kjv" });
    await link(store, "base", join(folder, "split"));
    await store.add([join(folder, "split")], { as: "split" });
    await merge(store, "split", [{ model: "fortune" }], { as: "merged" });
    const { files } = await store.export("merged", join(folder, "out"));
    expect(files).toHaveLength(3);
    const shards = await Promise.all(files.map(ggufFile));
    const names = Object.keys(FORTUNE_SHA256);
    for (const shard of shards) {
      expectReference(
        shard,
        names.filter((name) => shard.header.tensors.some((tensor) => tensor.name === name)),
      );
    }
    expect(shards.flatMap(({ header }) => header.tensors)).toHaveLength(48);
    expect(await greedy(store, "merged")).toBe(EXPECTED.greedy_text);
  });

  test("merges into every graph of an ONNX model, stored as [in, out], found by its nodes", async () => {
    const { store, folder } = await home();
    await store.add([join(await charlm(), "base")], { as: "onnx" });
    const result = await merge(store, "onnx", [{ model: "fortune" }], { as: "merged" });
    // Both graphs share their weights: each is derived once.
    expect(result).toMatchObject({ weights: 20, newBlobs: 22 });
    expect(result.newBytes).toBeLessThan(20 * 393_216 + 60_000);
    expect(await greedyOnnx(store, "merged")).toEqual(EXPECTED.greedy_ids);
    const { methods } = await describeModel(store, "merged");
    const [one, other] = methods.map(({ weights }) => new Set(weights.map((weight) => weight.digest)));
    expect(one).toEqual(other);
    await store.export("merged", join(folder, "files"));
    await store.add([join(folder, "files")], { as: "exported" });
    expect(await diff(store, "merged", "exported")).toMatchObject({ sameProgram: true, changed: [] });
  });

  test("keeps within the bound that it states where the base is quantized", LONG, async () => {
    const at = await home();
    const { store, folder } = at;
    await store.add([await quantized(await ggufFile(await charlmGguf("base")), join(folder, "q8.gguf"))], {
      as: "q8",
    });
    const { errorBound, weights } = await merge(store, "q8", [{ model: "fortune" }], { as: "merged" });
    expect(weights).toBe(20);
    // Blocks of the largest magnitude, about 1: A / 236.
    expect(errorBound).toBeGreaterThan(0.0001);
    expect(errorBound).toBeLessThan(0.02);
    // What q8 + delta is in float32: the LoRA merged into a float32 copy of it.
    await store.add([await widened(await exported(at, "q8"), join(folder, "f32.gguf"))], { as: "f32" });
    await merge(store, "f32", [{ model: "fortune" }], { as: "exact" });
    const [ours, exact] = [await exported(at, "merged"), await exported(at, "exact")];
    let worst = 0;
    for (const name of Object.keys(FORTUNE_SHA256)) {
      const [a, b] = [decoded(ours, name), decoded(exact, name)];
      a.forEach((value, index) => (worst = Math.max(worst, Math.abs(value - (b[index] as number)))));
    }
    expect(worst).toBeGreaterThan(0);
    expect(worst).toBeLessThanOrEqual(errorBound);
    expect(await greedy(store, "merged")).toBe(EXPECTED.greedy_text);
  });

  test("adds several LoRAs up in the order given", async () => {
    const { store, folder } = await home();
    const a = { shape: [1, 192], values: Array.from({ length: 192 }, (_, at) => at / 1000) };
    const b = { shape: [192, 1], values: Array.from({ length: 192 }, (_, at) => at / 2000) };
    const pair = { "blk.0.attn_q.weight.lora_a": a, "blk.0.attn_q.weight.lora_b": b };
    await store.add([await writeGgufLora(join(folder, "more.gguf"), pair, { "adapter.lora.alpha": 1 })]);
    const both = [
      { model: "fortune", scale: 0.5 },
      { model: "more", scale: -2 },
    ];
    await merge(store, "base", both, { as: "both" });
    await merge(store, "base", [both[0] as { model: string }], { as: "one" });
    const { changed } = await diff(store, "one", "both");
    expect(changed.map((each) => each.name)).toEqual(["blk.0.attn_q.weight"]);
    expect(changed[0]?.difference?.largest).toBeCloseTo((2 * 191 * 191) / 2_000_000, 4);
  });

  test("leaves the store as it was when it is aborted, or when the base is damaged", async () => {
    const { store } = await home();
    const before = await blobs(store);
    const abort = new AbortController();
    const options = { as: "merged", signal: abort.signal };
    const merging = merge(store, "base", [{ model: "fortune" }], {
      ...options,
      onProgress: ({ done }) => done > 500_000 && abort.abort(new Error("enough")),
    });
    await expect(merging).rejects.toThrow("enough");
    expect(await blobs(store)).toEqual(before);
    expect(await readdir(join(store.path, "tmp"))).toEqual([]);
    expect((await store.list()).map((model) => model.name)).toEqual(["base", "fortune"]);
  });
});

describe("a merge that is killed", LONG, () => {
  test("leaves a store that is whole, and nothing that gc does not take", async () => {
    const { store } = await home();
    const before = await blobs(store);
    const script = `
      import { merge, openStore } from ${JSON.stringify(DIST)};
      const store = await openStore({ path: ${JSON.stringify(store.path)} });
      await merge(store, "base", [{ model: "fortune" }], {
        as: "merged",
        onProgress: ({ done }) => done > 1_000_000 && process.kill(process.pid, "SIGKILL"),
      });`;
    const killed = promisify(execFile)(process.execPath, ["--input-type=module", "--eval", script]);
    await expect(killed).rejects.toMatchObject({ signal: "SIGKILL" });
    expect((await store.list()).map((model) => model.name)).toEqual(["base", "fortune"]);
    expect((await store.verify({ full: true })).problems).toEqual([]);
    await store.gc();
    expect(await blobs(store)).toEqual(before);
    expect(await merge(store, "base", [{ model: "fortune" }], { as: "merged" })).toMatchObject({
      weights: 20,
    });
  });
});

describe("a LoRA of the store", () => {
  test("is listed with the models that it fits", async () => {
    const { store, folder } = await home();
    await store.add([await charlmGguf("kjv")], { as: "kjv" });
    const other = {
      "blk.9.attn_q.weight.lora_a": { shape: [1, 4] },
      "blk.9.attn_q.weight.lora_b": { shape: [4, 1] },
    };
    await store.add([await writeGgufLora(join(folder, "stray.gguf"), other)]);
    const loras = (await store.list()).map(({ name, lora }) => [name, lora?.bases]);
    expect(loras).toEqual([
      ["base", undefined],
      ["fortune", ["base", "kjv"]],
      ["kjv", undefined],
      ["stray", []],
    ]);
    expect((await describeModel(store, "fortune")).lora).toMatchObject({
      ranks: [8],
      alphas: [16],
      targets: 20,
    });
    expect((await describeModel(store, "kjv")).adapters).toEqual(["fortune"]);
  });

  test("for another model is refused before the engine is given anything", async () => {
    const { store, folder } = await home();
    const pair = (name: string, rank: number): Record<string, { shape: number[] }> => ({
      [`${name}.lora_a`]: { shape: [rank, 192] },
      [`${name}.lora_b`]: { shape: [192, 2] },
    });
    await store.add([await writeGgufLora(join(folder, "stray.gguf"), pair("blk.9.attn_q.weight", 2))]);
    await store.add([await writeGgufLora(join(folder, "ranks.gguf"), pair("blk.0.attn_q.weight", 3))]);
    const load = (model: string): Promise<unknown> =>
      runtimeOf(store).loadText("base", { adapters: [{ model, scale: 1 }] });
    await expect(load("stray")).rejects.toMatchObject({
      code: "missing-weight",
      message: expect.stringContaining('not in "base": "blk.9.attn_q"'),
    });
    await expect(load("ranks")).rejects.toMatchObject({
      code: "mismatch",
      tensor: "blk.0.attn_q.weight.lora_a",
    });
    await expect(load("base")).rejects.toMatchObject({ code: "mismatch" });
    // Nothing was laid out for the engine either.
    expect(await readdir(join(store.path, "views")).catch(() => [])).toEqual([]);
  });
});

describe("tare merge", () => {
  test("says what it did, as text and as JSON, and lists what it made", async () => {
    const { store, folder } = await home();
    const tare = async (...argv: readonly string[]): Promise<{ code: number; out: string; err: string }> => {
      const texts = ["", ""];
      const [stdout, stderr] = [0, 1].map(
        (nth) =>
          new Writable({
            write(chunk, _encoding, done) {
              texts[nth] += String(chunk);
              done();
            },
          }),
      ) as [Writable, Writable];
      const code = await run(argv, { stdout, stderr, env: { TARE_STORE: store.path } });
      return { code, out: texts[0] as string, err: texts[1] as string };
    };
    expect(await tare("merge", "base", "fortune", "--as", "merged")).toMatchObject({
      code: 0,
      out: expect.stringMatching(
        /^merged merged: 20 weights changed, 2.5\d MB new, 1.62 MB shared with base\n$/,
      ),
    });
    const half = JSON.parse((await tare("merge", "base", "fortune:0.5", "--as", "half", "--json")).out);
    expect(half).toMatchObject({ name: "half", loras: [{ model: "fortune", scale: 0.5 }], notes: [] });
    const same = await tare("merge", "base", "fortune", "--scale", "0.5", "--as", "half");
    expect(same.out).toContain("all already stored");
    expect((await tare("ls")).out).toMatch(/fortune .*LoRA for base, half, merged\n/);
    expect((await tare("show", "fortune")).out).toMatch(
      /adapter +LoRA for .*: rank 8, alpha 16, for 20 weights/,
    );
    expect((await tare("show", "base")).out).toMatch(/adapters +fortune/);
    const gguf = (name: string): string =>
      fileURLToPath(new URL(`../../fixtures/lora/${name}`, import.meta.url));
    await store.add([gguf("gguf/base.gguf")], { as: "small" });
    await store.add([gguf("gguf/norm.gguf")]);
    await store.add([gguf("peft-lora-ga/adapter")], { as: "lora-ga" });
    expect((await tare("merge", "small", "norm", "--as", "normed")).out).toMatch(
      /\nnote: LoRA "norm": "blk.0.attn_norm.weight" is left out/,
    );
    expect((await tare("show", "norm")).out).toContain('"blk.0.attn_norm.weight" is left out');
    expect((await tare("ls")).out).toMatch(
      /lora-ga .*LoRA that cannot be used: its adapter_config.json has init_/,
    );
    expect(await tare("merge", "base", "fortune", "--as", "x", "--scale", "much")).toMatchObject({ code: 2 });
    expect(await tare("merge", "base", "fortune")).toMatchObject({ code: 2 });
    const nowhere = await tare("merge", "base", "fortune", "--as", "x", "--map", join(folder, "no.json"));
    expect(nowhere).toMatchObject({ code: 1, err: expect.stringContaining("Cannot find") });
  });
});

/** The tokens that an ONNX decoder takes greedily, the whole sequence each time. */
async function greedyOnnx(store: TareStore, model: string): Promise<number[]> {
  await using session = await runtimeOf(store).load(model, { method: "decoder" });
  const ids = [...EXPECTED.input_ids];
  for (const _ of EXPECTED.greedy_ids) {
    const bytes = new Uint8Array(BigInt64Array.from(ids.map(BigInt)).buffer);
    const { logits } = await session.run({ input_ids: { dtype: "int64", shape: [1, ids.length], bytes } });
    const all = new Float32Array(new Uint8Array((logits as { bytes: Uint8Array }).bytes).buffer);
    const last = all.subarray(-99);
    ids.push(last.indexOf(Math.max(...last)));
  }
  return ids.slice(EXPECTED.input_ids.length);
}

function decoded(model: Exported, name: string): Float32Array {
  const tensor = model.header.tensors.find((each) => each.name === name);
  const codec = tensor?.dtype && codecOf(tensor.dtype);
  if (!tensor || !codec) throw new Error(`cannot decode ${name}`);
  const out = new Float32Array((tensor.length / codec.blockBytes) * codec.blockElements);
  codec.decode(tensorBytesOf(model, name), out);
  return out;
}

/** The model with its matrices in q8_0. */
function quantized(model: Exported, path: string): Promise<string> {
  return rewritten(model, path, 8, "q8_0");
}

/** The model with its matrices in float32. */
function widened(model: Exported, path: string): Promise<string> {
  return rewritten(model, path, 0, "float32");
}

async function rewritten(
  model: Exported,
  path: string,
  type: number,
  dtype: "q8_0" | "float32",
): Promise<string> {
  const codec = codecOf(dtype);
  const tensors = model.header.tensors.map(({ name, shape, ...old }) => {
    if (shape.length < 2) return { name, shape, type: old.type, bytes: tensorBytesOf(model, name) };
    const values = decoded(model, name);
    const bytes = new Uint8Array((values.length / (codec?.blockElements ?? 1)) * (codec?.blockBytes ?? 0));
    codec?.encode?.(values, bytes);
    return { name, shape, type, bytes };
  });
  const { bytes, offsets, size } = encodeGgufHeader({ metadata: model.header.metadata, tensors });
  const file = Buffer.alloc(size);
  file.set(bytes);
  tensors.forEach((tensor, index) => file.set(tensor.bytes, offsets[index]));
  await writeFile(path, file);
  return path;
}
