/**
 * Loads every graph of every model, in a process of its own, and lets each model write a line.
 * Arguments: `stock FOLDER` or `tare STORE`. Prints one line of JSON.
 */
import { readFileSync } from "node:fs";
import { openRuntime, openStore } from "tare";
import { generate } from "./generate.mjs";

const [, , how, path] = process.argv;
const expected = JSON.parse(
  readFileSync(new URL("../fixtures/charlm/expected.json", import.meta.url), "utf8"),
);
const METHODS = ["decoder", "decoder_with_past"];
const MODELS = ["base", "kjv", "licence"];

const { memory, loadMs, lines, firstMs } = how === "stock" ? await stock() : await tare();
console.log(JSON.stringify({ how, memory, loadMs, firstMs, lines }));

async function stock() {
  const { default: ort } = await import("onnxruntime-node");
  const before = pss();
  const sessions = new Map();
  const times = [];
  for (const model of MODELS) {
    const began = performance.now();
    for (const method of METHODS) {
      sessions.set(model + method, await ort.InferenceSession.create(`${path}/${model}/${method}.onnx`));
    }
    times.push(performance.now() - began);
  }
  const run = (model) => async (method, inputs) => {
    const feeds = Object.entries(inputs).map(([name, { dtype, shape, bytes }]) => {
      const Elements = dtype === "int64" ? BigInt64Array : Float32Array;
      return [name, new ort.Tensor(dtype, new Elements(bytes.slice().buffer), shape)];
    });
    const outputs = await sessions.get(model + method).run(Object.fromEntries(feeds));
    return Object.fromEntries(
      Object.entries(outputs).map(([name, { type, dims, data }]) => {
        const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
        return [name, { dtype: type, shape: dims, bytes }];
      }),
    );
  };
  return finish(times, before, run);
}

async function tare() {
  const runtime = openRuntime(await openStore({ path }));
  // The engine's threads start with the first load: memory before it is Node's and the engine's alone.
  const warm = await runtime.load("base", { method: "decoder" });
  await warm.release();
  const before = pss();
  const sessions = new Map();
  const times = [];
  for (const model of MODELS) {
    const began = performance.now();
    for (const method of METHODS) sessions.set(model + method, await runtime.load(model, { method }));
    times.push(performance.now() - began);
  }
  const run = (model) => (method, inputs) => sessions.get(model + method).run(inputs);
  const result = await finish(times, before, run);
  await runtime[Symbol.asyncDispose]();
  return result;
}

async function finish(times, before, run) {
  const lines = {};
  for (const model of MODELS) {
    const { input_ids, greedy_ids } = expected[model];
    lines[model] = await generate(run(model), input_ids, greedy_ids.length);
  }
  const [firstMs, ...rest] = times;
  return {
    memory: pss() - before,
    firstMs,
    loadMs: rest.reduce((sum, ms) => sum + ms, 0) / rest.length,
    lines,
  };
}

/** This process's share of memory in bytes: pages that several mappings share count once. */
function pss() {
  globalThis.gc?.();
  try {
    return Number(/^Pss:\s+(\d+) kB/m.exec(readFileSync("/proc/self/smaps_rollup", "utf8"))[1]) * 1024;
  } catch {
    return process.memoryUsage.rss();
  }
}
