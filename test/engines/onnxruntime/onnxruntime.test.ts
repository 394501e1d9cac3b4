import { readdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import * as ort from "onnxruntime-node";
import { beforeAll, describe, expect, test } from "vitest";
import type { CharlmModel } from "../../../fixtures/charlm/rebuild-gguf.mjs";
import { openStore, type TareStore } from "../../../src/tare-store.ts";
import type { Tensor, Tensors } from "../../../src/tensor/tensor.ts";
import { CHARLM_GRAPHS, CHARLM_MODELS, charlm } from "../../support/charlm.ts";
import { prepareStore } from "../../support/prepared-store.ts";
import { SAMPLED, THOROUGH } from "../../support/speed.ts";
import { temporaryFolder } from "../../support/temporary.ts";
import { link } from "../../../src/link/link-folder.ts";
import { runtimeOf } from "../../support/runtime.ts";
import { describeModel } from "../../../src/operations/describe.ts";

let family: string;
beforeAll(async () => {
  family = await charlm();
});

async function familyStore(models: readonly CharlmModel[] = CHARLM_MODELS): Promise<TareStore> {
  const path = join(await temporaryFolder(), "store");
  await prepareStore(path, "onnx", models);
  const store = await openStore({ path });
  return store;
}

const ids = (...tokens: bigint[]): Tensor => {
  return {
    dtype: "int64",
    shape: [1, tokens.length],
    bytes: new Uint8Array(new BigInt64Array(tokens).buffer),
  };
};

/** Inputs of either graph: tokens, and for the second one a past of noise. */
function inputsOf(graph: string): Tensors {
  if (graph === "decoder") return { input_ids: ids(1n, 37n, 82n, 72n, 4n, 76n) };
  const past = Array.from({ length: 5 }, (_, layer) =>
    ["key", "value"].map((part) => `past.${layer}.${part}`),
  ).flat();
  const noise = (name: string): Tensor => {
    const values = Float32Array.from({ length: 3 * 4 * 32 }, (_, index) => Math.sin(index + name.length * 7));
    return { dtype: "float32", shape: [1, 3, 4, 32], bytes: new Uint8Array(values.buffer) };
  };
  return { input_ids: ids(37n), ...Object.fromEntries(past.map((name) => [name, noise(name)])) };
}

/** Runs the original file in stock ONNX Runtime, optimized like ours, prepacking off. */
async function stock(model: string, graph: string): Promise<Record<string, Buffer>> {
  const session = await ort.InferenceSession.create(join(family, model, `${graph}.onnx`), {
    graphOptimizationLevel: "extended",
    extra: { session: { disable_prepacking: "1" } },
  });
  const feeds = Object.entries(inputsOf(graph)).map(([name, tensor]) => {
    if (tensor.dtype === "string") throw new TypeError("no strings here");
    const data =
      tensor.dtype === "int64"
        ? new BigInt64Array(tensor.bytes.buffer as ArrayBuffer)
        : new Float32Array(tensor.bytes.buffer as ArrayBuffer);
    return [name, new ort.Tensor(tensor.dtype as "int64", data as BigInt64Array, tensor.shape)] as const;
  });
  const outputs = await session.run(Object.fromEntries(feeds));
  const bytes = Object.entries(outputs).map(([name, { data }]) => {
    const view = data as Float32Array;
    return [name, Buffer.from(view.slice().buffer)] as const;
  });
  await session.release();
  return Object.fromEntries(bytes);
}

function bytesOf(outputs: Tensors): Record<string, Buffer> {
  return Object.fromEntries(
    Object.entries(outputs).map(([name, tensor]) => [
      name,
      Buffer.from(tensor.dtype === "string" ? [] : tensor.bytes),
    ]),
  );
}

describe("Runtime.load()", () => {
  test(
    "gives whole outputs that equal stock ONNX Runtime's bit for bit, for every model and graph",
    SAMPLED,
    async () => {
      const store = await familyStore();
      for (const graph of CHARLM_GRAPHS) {
        for (const model of THOROUGH ? CHARLM_MODELS : ["kjv"]) {
          await using session = await runtimeOf(store).load(model, { method: graph });
          const outputs = bytesOf(await session.run(inputsOf(graph)));
          const expected = await stock(model, graph);
          expect(Object.keys(outputs).sort()).toEqual(Object.keys(expected).sort());
          for (const [name, bytes] of Object.entries(expected)) {
            expect(bytes.equals(outputs[name] as Buffer), `${model}/${graph}: ${name}`).toBe(true);
          }
        }
      }
    },
  );

  test("compiles once for the whole family, and again only when the cache is dropped", async () => {
    const store = await familyStore();
    const cached = async (model: string): Promise<boolean> => {
      await using session = await runtimeOf(store).load(model, { method: "decoder" });
      expect(session.weightlessBlocker).toBeUndefined();
      return session.cached;
    };
    expect(await cached("base")).toBe(false);
    expect(await cached("kjv")).toBe(true);
    expect(await cached("licence")).toBe(true);
    await store.gc({ cache: true });
    expect(await cached("licence")).toBe(false);
  });

  test("does not trust a damaged compiled program", async () => {
    const store = await familyStore(["base"]);
    await (await runtimeOf(store).load("base", { method: "decoder" })).release();
    const folder = join(store.path, "cache", "compiled");
    const [entry] = await readdir(folder);
    await writeFile(join(folder, entry as string), "not a program at all, whatever its name says");
    await using session = await runtimeOf(store).load("base", { method: "decoder" });
    expect(session.cached).toBe(false);
  });

  test("runs several models at once without blocking the caller", async () => {
    const store = await familyStore();
    const sessions = await Promise.all(
      CHARLM_MODELS.map((model) => runtimeOf(store).load(model, { method: "decoder" })),
    );
    let ticks = 0;
    const timer = setInterval(() => ticks++, 1);
    const outputs = await Promise.all(
      Array.from({ length: 30 }, (_, index) =>
        (sessions[index % 3] as (typeof sessions)[0]).run(inputsOf("decoder")),
      ),
    );
    clearInterval(timer);
    expect(ticks).toBeGreaterThan(0);
    const logits = outputs.map((each) =>
      Buffer.from((each.logits as { bytes: Uint8Array }).bytes).toString("base64"),
    );
    expect(new Set(logits).size).toBe(3);
    await Promise.all(sessions.map((session) => session.release()));
  });

  test("gives only the outputs asked for", async () => {
    const store = await familyStore(["base"]);
    await using session = await runtimeOf(store).load("base", { method: "decoder" });
    expect(Object.keys(await session.run(inputsOf("decoder"), { outputs: ["logits"] }))).toEqual(["logits"]);
  });

  test("names a missing, an unknown and a wrong input", async () => {
    const store = await familyStore(["base"]);
    await using session = await runtimeOf(store).load("base", { method: "decoder" });
    await expect(session.run({})).rejects.toMatchObject({ code: "missing-input", tensor: "input_ids" });
    await expect(session.run({ ...inputsOf("decoder"), x: ids(1n) })).rejects.toMatchObject({
      code: "bad-input",
      tensor: "x",
    });
    const short: Tensor = { dtype: "int64", shape: [1, 4], bytes: new Uint8Array(8) };
    await expect(session.run({ input_ids: short })).rejects.toMatchObject({
      code: "bad-input",
      tensor: "input_ids",
    });
    const floats: Tensor = { dtype: "float32", shape: [1, 1], bytes: new Uint8Array(4) };
    await expect(session.run({ input_ids: floats })).rejects.toMatchObject({
      code: "bad-input",
      message: 'Cannot run "base": input "input_ids" is float32, not int64',
      tensor: "input_ids",
    });
    const flat: Tensor = { dtype: "int64", shape: [1], bytes: new Uint8Array(8) };
    await expect(session.run({ input_ids: flat })).rejects.toMatchObject({
      code: "bad-input",
      message: 'Cannot run "base": input "input_ids" has shape [1], not [batch, sequence]',
      tensor: "input_ids",
    });
    await expect(session.run(inputsOf("decoder"))).resolves.toBeDefined();
  });

  test("lets go of an aborted run, and the session goes on", async () => {
    const store = await familyStore(["base"]);
    await using session = await runtimeOf(store).load("base", { method: "decoder" });
    const abort = new AbortController();
    const running = session.run(inputsOf("decoder"), { signal: abort.signal });
    abort.abort();
    await expect(running).rejects.toThrow(/abort/i);
    await expect(session.run(inputsOf("decoder"))).resolves.toBeDefined();
  });

  test("refuses a released session, and releases twice without harm", async () => {
    const store = await familyStore(["base"]);
    const session = await runtimeOf(store).load("base", { method: "decoder" });
    await session.release();
    await session.release();
    await expect(session.run(inputsOf("decoder"))).rejects.toMatchObject({ code: "released" });
  });

  test("never runs over a blob that was written to or is gone", async () => {
    const store = await familyStore(["base"]);
    const info = await describeModel(store, "base");
    const weight = info.methods[0]?.weights.find((each) => each.name === "m.token_embd.weight");
    const blob = join(store.path, "blobs", "sha256", (weight?.digest ?? "").slice(7));
    await rm(blob);
    await expect(runtimeOf(store).load("base", { method: "decoder" })).rejects.toMatchObject({
      code: "missing-blob",
      tensor: "m.token_embd.weight",
    });
    await writeFile(blob, Buffer.alloc(99 * 192 * 4));
    await expect(runtimeOf(store).load("base", { method: "decoder" })).rejects.toMatchObject({
      code: "corrupted",
      tensor: "m.token_embd.weight",
    });
  });

  test("prepacks where told to, with outputs as near as stock's own", async () => {
    const store = await familyStore(["base"]);
    await using packed = await runtimeOf(store).load("base", { method: "decoder", prepacking: "on" });
    await using mapped = await runtimeOf(store).load("base", { method: "decoder" });
    expect([packed.prepacked, mapped.prepacked]).toEqual([true, false]);
    const [a, b] = await Promise.all([packed, mapped].map((each) => each.run(inputsOf("decoder"))));
    const numbers = (outputs: Tensors): Float32Array => {
      return new Float32Array((outputs.logits as { bytes: Uint8Array }).bytes.slice().buffer);
    };
    const theirs = numbers(b as Tensors);
    const apart = numbers(a as Tensors).reduce(
      (most, value, index) => Math.max(most, Math.abs(value - (theirs[index] as number))),
      0,
    );
    // Packing changes the order of summation: float32 rounding over 512 products.
    expect(apart).toBeLessThan(1e-4);
  });

  test("says which methods there are when none is chosen", async () => {
    const store = await familyStore(["base"]);
    await expect(runtimeOf(store).load("base")).rejects.toMatchObject({
      code: "not-found",
      hint: expect.stringContaining("decoder_with_past"),
    });
  });

  test("runs the folder that link makes in stock ONNX Runtime", async () => {
    const store = await familyStore(["kjv"]);
    const { path } = await link(store, "kjv", join(await temporaryFolder(), "view"));
    const session = await ort.InferenceSession.create(join(path, "decoder.onnx"), {
      graphOptimizationLevel: "extended",
      extra: { session: { disable_prepacking: "1" } },
    });
    const outputs = await session.run({
      input_ids: new ort.Tensor("int64", [1n, 37n, 82n, 72n, 4n, 76n], [1, 6]),
    });
    const logitsData = outputs.logits?.data as Float32Array;
    await session.release();
    const expected = await stock("kjv", "decoder");
    expect(Buffer.from(logitsData.slice().buffer).equals(expected.logits as Buffer)).toBe(true);
  });
});
