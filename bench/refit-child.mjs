/** One measurement in a process of its own: `refit-child.mjs WHAT PLACES ARGUMENT…`; prints one line of JSON. */
import { readFileSync } from "node:fs";
import { Worker } from "node:worker_threads";
import { openRuntime, openStore, refit } from "tare";
import { parseSafetensors } from "./refit-tensors.mjs";

const [, , what, json, ...args] = process.argv;
const { store: path, width, base, tuned, checkpoint, part, names } = JSON.parse(json);
const x = Float32Array.from({ length: width }, (_, index) => Math.sin(index));
const inputs = () => ({
  x: { dtype: "float32", shape: [1, width], bytes: new Uint8Array(x.slice().buffer) },
});

const STOCK = {
  packed: {},
  mapped: {
    graphOptimizationLevel: "extended",
    extra: { session: { disable_prepacking: "1", intra_op: { allow_spinning: "0" } } },
  },
};

const jobs = {
  async add(folder, name) {
    await (await openStore({ path })).add([folder], { as: name });
    return {};
  },

  /** Stock and tare in turn, `rounds` times; every figure a list. */
  async times(rounds) {
    const { default: ort } = await import("onnxruntime-node");
    const store = await openStore({ path });
    const runtime = openRuntime(store, { workers: 1 });
    // Threads and native libraries start here, and not in the first figure.
    await (await runtime.load("base")).release();
    const times = {};
    const timed = async (name, work) => {
      const began = performance.now();
      const result = await work();
      (times[name] ??= []).push(performance.now() - began);
      return result;
    };
    const tensors = parseSafetensors(part);
    for (let round = 0; round < Number(rounds); round++) {
      for (const [name, settings] of Object.entries(STOCK)) {
        const create = () => ort.InferenceSession.create(`${base}/model.onnx`, settings);
        await (await timed(`stock.${name}`, create)).release();
      }
      await store.gc({ cache: true });
      await timed("compile", () => runtime.compile("base"));
      await (await timed("load", () => runtime.load("base"))).release();
      for (const [name, from, partial] of [
        ["store", "tuned", false],
        ["file", checkpoint, false],
        ["part", part, true],
      ]) {
        const as = `refit-${name}`;
        await timed(`refit.${name}`, () => refit(store, "base", from, { as, partial }));
        await (await timed(`refit.${name}.load`, () => runtime.load(as))).release();
        await store.remove([as]);
        await store.gc();
      }
      for (const [name, mutable] of [
        ["in-place", names],
        ["relink", []],
      ]) {
        const model = await runtime.openMutable("base", { mutable });
        await model.run(inputs());
        const { how } = await timed(`swap.${name}`, () => model.loadStateDict(tensors, { partial: true }));
        if (how !== name) throw new Error(`${how} instead of ${name}`);
        await timed(`swap.${name}.run`, () => model.run(inputs()));
        await timed(`swap.${name}.again`, () => model.loadStateDict(tensors, { partial: true }));
        await model.release();
      }
      const model = await runtime.openMutable("base");
      await timed("swap.model", () => model.loadModel("tuned"));
      await model.release();
    }
    await runtime[Symbol.asyncDispose]();
    return times;
  },

  /** A refit from a file whose weights the store does not have. */
  async fresh() {
    const store = await openStore({ path });
    const began = performance.now();
    const { newBytes } = await refit(store, "base", checkpoint, { as: "fresh" });
    return { ms: performance.now() - began, newBytes };
  },

  /** Runs of stock, of the model, and of a refit of it, in turn. */
  async runs(rounds) {
    const { default: ort } = await import("onnxruntime-node");
    const store = await openStore({ path });
    const runtime = openRuntime(store, { workers: 1 });
    await refit(store, "base", "tuned", { as: "refit-run" });
    const stock = await ort.InferenceSession.create(`${tuned}/model.onnx`, STOCK.mapped);
    const [before, after] = [await runtime.load("base"), await runtime.load("refit-run")];
    const added = await runtime.load("tuned");
    const feeds = { x: new ort.Tensor("float32", x, [1, width]) };
    const runs = [
      ["stock", async () => (await stock.run(feeds)).y.data],
      ["before", async () => (await before.run(inputs())).y.bytes],
      ["after", async () => (await after.run(inputs())).y.bytes],
    ];
    const times = { stock: [], before: [], after: [] };
    const outputs = {};
    for (let round = 0; round < Number(rounds) + 2; round++) {
      for (const [name, run] of runs) {
        const began = performance.now();
        outputs[name] = await run();
        if (round >= 2) times[name].push(performance.now() - began);
      }
    }
    const bytes = ({ buffer, byteOffset, byteLength }) => Buffer.from(buffer, byteOffset, byteLength);
    const same = bytes((await added.run(inputs())).y.bytes).equals(bytes(outputs.after));
    const right = same && !bytes(outputs.before).equals(bytes(outputs.after));
    // Where the engine folds what tare computes (a Transpose of a weight), it sums in another order.
    const ours = new Float32Array(outputs.after.slice().buffer);
    const most = outputs.stock.reduce((sofar, value) => Math.max(sofar, Math.abs(value)), 0);
    const off =
      outputs.stock.reduce((sofar, value, i) => Math.max(sofar, Math.abs(value - ours[i])), 0) / most;
    await runtime[Symbol.asyncDispose]();
    await store.remove(["refit-run"]);
    return { times, right, off };
  },

  /** The most memory that the process had over its own while it went from one model's weights to another's. */
  async memory(how) {
    // The caller's own memory is not what is measured.
    const tensors = how === "in-place" ? parseSafetensors(part) : {};
    const watch = await watchMemory();
    if (how === "stock") {
      const { default: ort } = await import("onnxruntime-node");
      const before = watch.reset();
      const feeds = { x: new ort.Tensor("float32", x, [1, width]) };
      for (const folder of [base, tuned]) {
        const session = await ort.InferenceSession.create(`${folder}/model.onnx`, STOCK.packed);
        await session.run(feeds);
        await watch.settle();
        await session.release();
      }
      return { peak: (await watch.settle()) - before };
    }
    const store = await openStore({ path });
    const runtime = openRuntime(store, { workers: 1 });
    await (await runtime.load("base")).release();
    const before = watch.reset();
    const mutable = how === "in-place" ? names : [];
    const model = await runtime.openMutable("base", { mutable });
    await model.run(inputs());
    if (how === "file") await refit(store, "base", checkpoint, { as: "refit-memory" });
    if (how === "in-place") await model.loadStateDict(tensors, { partial: true });
    else await model.loadModel(how === "file" ? "refit-memory" : "tuned");
    await model.run(inputs());
    const peak = (await watch.settle()) - before;
    await model.release();
    await runtime[Symbol.asyncDispose]();
    if (how === "file") await store.remove(["refit-memory"]);
    return { peak };
  },
};

console.log(JSON.stringify(await jobs[what](...args)));

/** Looks at the process's memory all the time, in a thread: sessions block this one. */
async function watchMemory() {
  const most = new Float64Array(new SharedArrayBuffer(8));
  const rounds = new Int32Array(new SharedArrayBuffer(4));
  const code = `
    const { readFileSync } = require("node:fs");
    const { most, rounds } = require("node:worker_threads").workerData;
    for (;;) {
      const rollup = readFileSync("/proc/self/smaps_rollup", "utf8");
      most[0] = Math.max(most[0], Number(/^Pss:\\s+(\\d+) kB/m.exec(rollup)[1]) * 1024);
      Atomics.add(rounds, 0, 1);
      Atomics.wait(rounds, 0, Atomics.load(rounds, 0), 2);
    }`;
  const worker = new Worker(code, { eval: true, workerData: { most, rounds } });
  worker.unref();
  const settle = async () => {
    const until = Atomics.load(rounds, 0) + 3;
    while (Atomics.load(rounds, 0) < until) await new Promise((resolve) => setTimeout(resolve, 2));
    return most[0];
  };
  await settle();
  const reset = () => {
    globalThis.gc?.();
    most[0] = Number(/^Pss:\s+(\d+) kB/m.exec(readFileSync("/proc/self/smaps_rollup", "utf8"))[1]) * 1024;
    return most[0];
  };
  return { settle, reset };
}
