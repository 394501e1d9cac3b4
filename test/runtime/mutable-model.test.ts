import { cp, mkdir } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { parsePartitionRule } from "../../src/compile/backends/partition.ts";
import type { MutableModel } from "../../src/runtime/mutable-model.ts";
import { openStore, type TareStore } from "../../src/tare-store.ts";
import type { NumberTensor, Tensors } from "../../src/tensor/tensor.ts";
import { charlm } from "../support/charlm.ts";
import { storedTensors } from "../support/stored-tensors.ts";
import { prepareStore } from "../support/prepared-store.ts";
import { LONG } from "../support/speed.ts";
import { temporaryFolder } from "../support/temporary.ts";
import { runtimeOf } from "../support/runtime.ts";
import { merge } from "../../src/operations/merge.ts";

const FIXTURES = fileURLToPath(new URL("../../fixtures", import.meta.url));
const IDS = new Uint8Array(BigInt64Array.of(1n, 37n, 82n, 5n).buffer);
const INPUTS: Tensors = { input_ids: { dtype: "int64", shape: [1, 4], bytes: IDS } };

let family: string;
beforeAll(async () => {
  family = await charlm();
});

async function familyStore(): Promise<{ store: TareStore; folder: string }> {
  const folder = await temporaryFolder();
  await prepareStore(join(folder, "store"), "onnx-compiled", ["base", "kjv"]);
  const store = await openStore({ path: join(folder, "store") });
  return { store, folder };
}

async function outputsOf(store: TareStore, name: string): Promise<Tensors> {
  await using session = await runtimeOf(store).load(name, { method: "decoder", threads: 1 });
  return await session.run(INPUTS);
}

async function open(store: TareStore, mutable: readonly string[] = []): Promise<MutableModel> {
  const model = await runtimeOf(store).openMutable("base", { method: "decoder", threads: 1, mutable });
  onTestFinished(() => model.release());
  return model;
}

/** Whether two runs have the same logits but for the order of sums. */
function close(a: Tensors, b: Tensors): boolean {
  const [left, right] = [a, b].map((outputs) => {
    const { bytes } = outputs.logits as NumberTensor;
    return new Float32Array(bytes.slice().buffer);
  });
  return (left as Float32Array).every((value, index) => Math.abs(value - (right?.[index] ?? 0)) < 1e-3);
}

describe("Runtime.openMutable()", () => {
  test("runs as the model does, whatever of it is in memory", async () => {
    const { store } = await familyStore();
    const base = await outputsOf(store, "base");
    const all = await open(store, ["*"]);
    expect(all.live.length).toBe(Object.keys(await storedTensors(store, "base", "decoder")).length);
    expect(await all.run(INPUTS)).toEqual(base);
    const none = await open(store);
    expect(none.live).toEqual([]);
    expect(await none.run(INPUTS)).toEqual(base);
  });

  test("changes weights in place or by a relink, and says which; runs under way finish on the old ones", async () => {
    const { store } = await familyStore();
    const [base, kjv] = [await outputsOf(store, "base"), await outputsOf(store, "kjv")];
    const weights = await storedTensors(store, "kjv", "decoder");
    const own = Object.keys(weights);
    const model = await open(store, ["*"]);
    const running = [model.run(INPUTS), model.run(INPUTS)];
    const change = model.loadStateDict(weights);
    const after = change.then(() => model.run(INPUTS));
    expect(await Promise.all(running)).toEqual([base, base]);
    expect(await change).toEqual({ how: "in-place", weights: own.length });
    expect(await after).toEqual(kjv);

    const linked = await open(store);
    const first = linked.run(INPUTS);
    expect(await linked.loadStateDict(weights)).toEqual({ how: "relink", weights: own.length });
    expect(await first).toEqual(base);
    expect(await linked.run(INPUTS)).toEqual(kjv);
    // What is in memory by now changes in place.
    const back = await storedTensors(store, "base", "decoder");
    expect(await linked.loadStateDict(back)).toMatchObject({ how: "in-place" });
    expect(await linked.run(INPUTS)).toEqual(base);
  });

  test("sets one weight; the caller's memory stays the caller's", async () => {
    const { store } = await familyStore();
    const name = "m.output_norm.weight";
    const model = await open(store, [name]);
    const zeros: NumberTensor = { dtype: "float32", shape: [192], bytes: new Uint8Array(192 * 4) };
    expect(await model.set(name, zeros)).toEqual({ how: "in-place", weights: 1 });
    const logits = (await model.run(INPUTS)).logits as NumberTensor;
    expect(logits.bytes.every((byte) => byte === 0 || byte === 0x80)).toBe(true);
    zeros.bytes.fill(1);
    expect((await model.run(INPUTS)).logits).toEqual(logits);
  });

  test("adds a LoRA in memory and takes it away: as merged ahead of time, bit for bit", async () => {
    const { store } = await familyStore();
    await store.add([join(FIXTURES, "charlm", "fortune-lora", "adapter_model.safetensors")], {
      as: "lonely",
    });
    const folder = join(await temporaryFolder(), "fortune");
    await mkdir(folder);
    for (const file of ["adapter_model.safetensors", "adapter_config.json"]) {
      await cp(join(FIXTURES, "charlm", "fortune-lora", file), join(folder, file));
    }
    await store.add([folder], { as: "fortune" });
    await merge(store, "base", [{ model: "fortune", scale: 0.5 }], { as: "merged" });
    const [base, merged] = [await outputsOf(store, "base"), await outputsOf(store, "merged")];
    for (const mutable of [[], ["*"], ["*attn_q*"]]) {
      const model = await open(store, mutable.includes("*attn_q*") ? [] : mutable);
      const loaded = await model.loadLora("fortune", { scale: 0.5 });
      expect(loaded).toEqual({ how: mutable.includes("*") ? "in-place" : "relink", weights: 20 });
      expect(await model.run(INPUTS)).toEqual(merged);
      expect(await model.loadLora("fortune", { scale: 0.5 })).toMatchObject({ how: "in-place" });
      expect(await model.run(INPUTS)).toEqual(merged);
      expect(await model.unloadLora()).toMatchObject({ weights: 20 });
      expect(await model.run(INPUTS)).toEqual(base);
      expect(model.live.length).toBe(mutable.includes("*") ? model.live.length : 0);
    }
  });

  test("takes another model's weights, and its program where that is wanted", async () => {
    const { store, folder } = await familyStore();
    const model = await open(store, ["m.output_norm.weight"]);
    expect(await model.loadModel("kjv")).toMatchObject({ how: "relink" });
    expect(await model.run(INPUTS)).toEqual(await outputsOf(store, "kjv"));
    await mkdir(join(folder, "other"));
    await cp(join(family, "kjv", "decoder_with_past.onnx"), join(folder, "other", "decoder.onnx"));
    await store.add([join(folder, "other")]);
    await expect(model.loadModel("other")).rejects.toMatchObject({ code: "mismatch" });
    expect(await model.run(INPUTS)).toEqual(await outputsOf(store, "kjv"));
    const free = await open(store);
    expect(await free.loadModel("other", { recompile: true })).toMatchObject({ how: "recompile" });
  });

  test("refuses what does not fit, and stays what it was", async () => {
    const { store } = await familyStore();
    const base = await outputsOf(store, "base");
    const name = "m.output_norm.weight";
    const model = await open(store, [name]);
    const tensor = (shape: readonly number[], bytes: number): NumberTensor => {
      return { dtype: "float32", shape, bytes: new Uint8Array(bytes) };
    };
    await expect(model.set("nobody", tensor([1], 4))).rejects.toMatchObject({ code: "unused-weight" });
    await expect(model.set(name, tensor([191], 764))).rejects.toMatchObject({ code: "mismatch" });
    await expect(model.set(name, tensor([192], 4))).rejects.toMatchObject({ code: "bad-input" });
    await expect(model.set("m.token_embd.weight", tensor([99, 192], 4))).rejects.toMatchObject({
      code: "bad-input",
    });
    await expect(model.loadStateDict({ [name]: tensor([192], 768) })).rejects.toMatchObject({
      code: "missing-weight",
    });
    await expect(model.loadLora("kjv")).rejects.toThrow();
    await expect(
      runtimeOf(store).openMutable("base", { method: "decoder", mutable: ["*lora_A*"] }),
    ).rejects.toMatchObject({
      code: "not-found",
    });
    expect(await model.run(INPUTS)).toEqual(base);
    await store.remove(["base"]);
    await expect(model.set("m.token_embd.weight", tensor([99, 192], 99 * 192 * 4))).rejects.toMatchObject({
      code: "not-found",
    });
    expect(await model.run(INPUTS)).toEqual(base);
    await model.release();
    await expect(model.set(name, tensor([192], 768))).rejects.toMatchObject({ code: "released" });
  });

  test("changes models whose graph is in several sessions", LONG, async () => {
    const { store } = await familyStore();
    const [base, kjv] = [await outputsOf(store, "base"), await outputsOf(store, "kjv")];
    const rules = [parsePartitionRule("Softmax=portable")];
    const compiled = { partition: rules };
    const model = await runtimeOf(store).openMutable("base", { method: "decoder", threads: 1, compiled });
    const before = await model.run(INPUTS);
    const weights = await storedTensors(store, "kjv", "decoder");
    const first = model.run(INPUTS);
    expect(await model.loadStateDict(weights)).toMatchObject({ how: "relink" });
    expect(await first).toEqual(before);
    const changed = await model.run(INPUTS);
    expect(close(changed, kjv)).toBe(true);
    expect(close(changed, base)).toBe(false);
    await store.gc();
    expect((await store.verify({ full: true })).problems).toEqual([]);
    expect(await model.loadModel("base")).toMatchObject({ how: "relink" });
    expect(await model.run(INPUTS)).toEqual(before);
    await model.release();
    expect((await store.status()).unusedBytes).toBe(0);
  });

  test("says that quantized weights cannot be fed", async () => {
    const folder = await temporaryFolder();
    const store = await openStore({ path: join(folder, "store") });
    const { readdir } = await import("node:fs/promises");
    const [file = ""] = (await readdir(join(FIXTURES, "onnx-quantized"))).filter((each) =>
      each.endsWith(".onnx"),
    );
    await store.add([join(FIXTURES, "onnx-quantized", file)], { as: "q" });
    await expect(runtimeOf(store).openMutable("q", { mutable: ["*"] })).rejects.toMatchObject({
      code: "unsupported",
    });
  });
});
