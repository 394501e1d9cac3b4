import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, onTestFinished, test } from "vitest";
import type { EngineEntry } from "../../src/engines/engine-entry.ts";
import { LLAMA } from "../../src/engines/llama/entry.ts";
import { ONNX_RUNTIME } from "../../src/engines/onnxruntime/entry.ts";
import { ENGINES } from "../../src/engines/registry.ts";
import { bind } from "../../src/link/bind.ts";
import type { LinkedOnnx } from "../../src/link/linked-program.ts";
import { openRuntime, type Runtime } from "../../src/runtime/runtime.ts";
import type { TareStore } from "../../src/tare-store.ts";
import { TOY, type ToyEngine, ToySession } from "../engines/toy-engine.ts";
import { home } from "../support/home.ts";
import { floats, graph, model, node, tensor, value } from "../support/onnx-builder.ts";

const FIXTURES = fileURLToPath(new URL("../../fixtures", import.meta.url));

/** y = x · w */
const MODEL = model({
  ir: 10,
  opsets: { "": 21 },
  graph: graph({
    nodes: [node("MatMul", ["x", "w"], ["y"])],
    initializers: [tensor("w", "float32", [2, 2], floats(1, 2, 3, 4))],
    inputs: [value("x", "float32", ["batch", 2])],
    outputs: [value("y", "float32", ["batch", 2])],
  }),
});

/** The toy engine, for ONNX models. */
const TOY_ONNX: EngineEntry<ToyEngine> = { ...TOY, id: "toy-onnx", formats: ["onnx"] };

/** A store with one ONNX model, and a runtime of some engines over it. */
async function runtimeWith(
  engines: readonly EngineEntry[] | undefined,
): Promise<{ store: TareStore; runtime: Runtime }> {
  const { store, folder } = await home();
  await writeFile(join(folder, "m.onnx"), MODEL);
  await store.add([join(folder, "m.onnx")], { as: "m" });
  const runtime = openRuntime(store, { engines, workers: 1 });
  onTestFinished(() => runtime[Symbol.asyncDispose]());
  return { store, runtime };
}

/** ONNX Runtime that counts how often it was opened. */
function counted(): { entry: EngineEntry; opened: () => number } {
  let count = 0;
  const entry: EngineEntry = {
    ...(ONNX_RUNTIME as unknown as EngineEntry),
    open: async (context) => {
      count++;
      return ONNX_RUNTIME.open(context);
    },
  };
  return { entry, opened: () => count };
}

/** The linked program of the model, and the number of times that its lease was released. */
async function linked(store: TareStore): Promise<{ program: LinkedOnnx; released: () => number }> {
  await using bound = await bind(store, "m");
  const program = await bound.link();
  let count = 0;
  const lease = {
    async [Symbol.asyncDispose]() {
      count++;
      await program.lease?.[Symbol.asyncDispose]();
    },
  };
  return { program: { ...program, lease }, released: () => count };
}

describe("a runtime without engines", () => {
  const without = (label: string): object => ({
    code: "no-engine",
    message: `Cannot open ${label}: this runtime was opened without it`,
    hint: `Add ${label} to the engines option of openRuntime`,
  });
  const none = {
    code: "no-engine",
    message: 'Cannot load "m": this runtime has no engine for ONNX models, it has none at all',
    hint: "Add ONNX Runtime to the engines option of openRuntime",
  };

  test("loads no stored model and no linked program", async () => {
    const { store, runtime } = await runtimeWith([]);
    await expect(runtime.load("m")).rejects.toMatchObject(none);
    const { program, released } = await linked(store);
    await expect(runtime.load(program)).rejects.toMatchObject(none);
    expect(released()).toBe(1);
    await expect(runtime.load("m", { engine: ONNX_RUNTIME })).rejects.toMatchObject(without("ONNX Runtime"));
  });

  test("opens, compiles and generates nothing", async () => {
    const { runtime } = await runtimeWith([]);
    await expect(runtime.openMutable("m")).rejects.toMatchObject(without("ONNX Runtime"));
    await expect(runtime.loadCompiled("m")).rejects.toMatchObject(without("ONNX Runtime"));
    await expect(runtime.compile("m")).rejects.toMatchObject(without("ONNX Runtime"));
    await expect(runtime.verifyRefit("m")).rejects.toMatchObject(without("ONNX Runtime"));
    await expect(runtime.loadText("m")).rejects.toMatchObject(without("llama.cpp"));
    await using texts = runtime.openTexts();
    await expect(texts.swap("m")).rejects.toMatchObject(without("llama.cpp"));
  });

  test("does not use a compiled model of the cache", async () => {
    const { store, runtime } = await runtimeWith([]);
    await using full = openRuntime(store, { workers: 1 });
    await full.compile("m");
    await expect(runtime.loadCompiled("m")).rejects.toMatchObject(without("ONNX Runtime"));
  });
});

describe("a runtime with an engine in the place of ONNX Runtime", () => {
  test("opens it for each road, once", async () => {
    const { entry, opened } = counted();
    const { store, runtime } = await runtimeWith([entry]);
    await (await runtime.load((await linked(store)).program)).release();
    expect(opened()).toBe(1);
    await (await runtime.load("m")).release();
    await (await runtime.load("m", { engine: ONNX_RUNTIME })).release();
    await (await runtime.openMutable("m")).release();
    await (await runtime.loadCompiled("m")).release();
    expect(opened()).toBe(1);
  });
});

describe("Runtime.load()", () => {
  test("uses the engine of the runtime for the model's format", async () => {
    const { store, runtime } = await runtimeWith([...ENGINES, TOY]);
    await store.add([join(FIXTURES, "safetensors", "names.safetensors")], { as: "weights" });
    await using toy = await runtime.load("weights");
    expect(toy).toBeInstanceOf(ToySession);
    await using session = await runtime.load("m");
    expect(session).not.toBeInstanceOf(ToySession);
  });

  test("takes the first of two engines for one format, or the one that is named", async () => {
    const { store, runtime } = await runtimeWith([...ENGINES, TOY_ONNX]);
    await using first = await runtime.load("m");
    expect(first.weightlessBlocker).toBeUndefined();
    expect(first).not.toBeInstanceOf(ToySession);
    await using named = await runtime.load("m", { engine: TOY_ONNX });
    expect(named).toBeInstanceOf(ToySession);

    await using other = openRuntime(store, { engines: [TOY_ONNX, ...ENGINES], workers: 1 });
    await using toy = await other.load("m");
    expect(toy).toBeInstanceOf(ToySession);
    await using onnx = await other.load("m", { engine: ONNX_RUNTIME });
    expect(onnx).not.toBeInstanceOf(ToySession);
  });

  test("loads a linked program in the engine that is named", async () => {
    const { store, runtime } = await runtimeWith([...ENGINES, TOY_ONNX]);
    const { program, released } = await linked(store);
    const session = await runtime.load(program, { engine: TOY_ONNX });
    expect(session).toBeInstanceOf(ToySession);
    expect(released()).toBe(0);
    await session.release();
    expect(released()).toBe(1);
  });

  test("refuses an engine of another format by name, and releases the lease", async () => {
    const { store, runtime } = await runtimeWith([...ENGINES, TOY]);
    const refusal = {
      code: "unsupported",
      message: 'Cannot load "m": the toy engine does not run ONNX models',
      hint: ONNX_RUNTIME.hint,
    };
    const { program, released } = await linked(store);
    await expect(runtime.load(program, { engine: TOY })).rejects.toMatchObject(refusal);
    expect(released()).toBe(1);
    await expect(runtime.load("m", { engine: TOY })).rejects.toMatchObject(refusal);
    await expect(runtime.load("m", { engine: TOY_ONNX })).rejects.toMatchObject({
      code: "no-engine",
      hint: "Add the toy engine to the engines option of openRuntime",
    });
  });

  test("releases the lease if the engine does not open", async () => {
    const broken: EngineEntry = {
      ...TOY_ONNX,
      open: async () => {
        throw new Error("it is not installed");
      },
    };
    const { store, runtime } = await runtimeWith([broken]);
    const { program, released } = await linked(store);
    await expect(runtime.load(program)).rejects.toThrow("it is not installed");
    expect(released()).toBe(1);
  });

  test("names the engines that the runtime has", async () => {
    const { runtime } = await runtimeWith([TOY, LLAMA]);
    await expect(runtime.load("m")).rejects.toMatchObject({
      code: "no-engine",
      message:
        'Cannot load "m": this runtime has no engine for ONNX models, it has the toy engine, llama.cpp',
    });
  });
});
