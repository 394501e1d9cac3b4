import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { engineOf, noEngine, requireEngine } from "../../src/engines/engine-of.ts";
import { OpenEngines } from "../../src/engines/open-engines.ts";
import { ONNX_RUNTIME } from "../../src/engines/onnxruntime/entry.ts";
import { ENGINES } from "../../src/engines/registry.ts";
import { writeSafetensors } from "../../src/formats/safetensors/write.ts";
import { LocalStore } from "../../src/local-store/local-store.ts";
import { describeModel } from "../../src/operations/describe.ts";
import { loadModel, type LoadHost } from "../../src/runtime/load-model.ts";
import type { NumberTensor } from "../../src/tensor/tensor.ts";
import { home } from "../support/home.ts";
import { TOY } from "./toy-engine.ts";
import { readModel } from "../../src/store/read-model.ts";

const WEIGHT: NumberTensor = {
  dtype: "float32",
  shape: [2],
  bytes: new Uint8Array(Float32Array.of(1.5, -2).buffer),
};

/** A store with one model of weights alone, and engines that it is loaded in. */
async function hostWith(...more: (typeof ENGINES)[number][]): Promise<LoadHost> {
  const { store, folder } = await home();
  const path = join(folder, "m.safetensors");
  await writeFile(path, writeSafetensors({ w: WEIGHT }));
  await store.add([path], { as: "m" });
  const engines = new OpenEngines([...ENGINES, ...more]);
  onTestFinished(() => engines[Symbol.asyncDispose]());
  return { store: await LocalStore.open(store.path), engines };
}

describe("ENGINES", () => {
  test("has each id and each format once", () => {
    const ids = ENGINES.map(({ id }) => id);
    const formats = ENGINES.flatMap((entry) => entry.formats);
    expect(ids).toEqual(["onnxruntime", "llama"]);
    expect(new Set(formats).size).toBe(formats.length);
  });

  test.each(ENGINES)("opens $label, which has the entry's id and formats", async (entry) => {
    await using engine = await entry.open({ workers: 1 });
    expect({ id: engine.id, formats: engine.capabilities.formats }).toEqual({
      id: entry.id,
      formats: entry.formats,
    });
  });
});

describe("an engine that is one more entry", () => {
  test("loads and runs the models of its format, on the way of all engines", async () => {
    const host = await hostWith(TOY);
    const session = await loadModel(host, TOY, "m");
    expect(await session.run({})).toEqual({ w: WEIGHT });
    await session.release();
    await expect(session.run({})).rejects.toMatchObject({ code: "released" });
  });

  test("is opened once, and closed with the others", async () => {
    const { engines } = await hostWith(TOY);
    const engine = await engines.get(TOY);
    expect(await engines.get(TOY)).toBe(engine);
    await engines[Symbol.asyncDispose]();
    expect(engine.closed).toBe(true);
  });

  test("is opened only if it is in the list, by its id", async () => {
    const { engines } = await hostWith(TOY);
    expect(await engines.get({ ...TOY, label: "another" })).toBe(await engines.get(TOY));
    await expect(engines.get({ ...TOY, id: "other", label: "another" })).rejects.toMatchObject({
      code: "no-engine",
      message: "Cannot open another: this runtime was opened without it",
      hint: "Add another to the engines option of openRuntime",
    });
  });

  test("is named by what describes the model, with its own forecast", async () => {
    const { store, engines } = await hostWith(TOY);
    expect(engineOf("safetensors")).toBeUndefined();
    expect(engineOf("safetensors", engines.entries)?.id).toBe("toy");
    const { engine, methods } = await describeModel(store, "m", engines.entries);
    expect(engine).toBe("the toy engine");
    expect(methods).toMatchObject([
      { signature: { inputs: [], outputs: [{ name: "w" }] }, weights: [{ name: "w", copied: true }] },
    ]);
    expect((await describeModel(store, "m")).engine).toBeUndefined();
  });

  test("is what others hint at, where they refuse its models", async () => {
    const host = await hostWith(TOY);
    await expect(loadModel(host, ONNX_RUNTIME, "m")).rejects.toMatchObject({
      code: "unsupported",
      message: 'Cannot load "m": ONNX Runtime does not run safetensors models',
      hint: TOY.hint,
    });
    const model = await readModel(host.store, "m");
    expect(() => requireEngine(model, "onnxruntime", "load")).toThrow(/has weights and no program/);
    expect(noEngine("m", "irpa", "load").message).toContain(": an irpa model has weights and no program");
  });
});
