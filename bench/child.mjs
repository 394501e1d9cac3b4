/** One measurement in a process of its own: `child.mjs WHAT ARGUMENT…`; prints one line of JSON. */
import { readFileSync } from "node:fs";
import { openRuntime, openStore } from "tare";

const [, , what, ...args] = process.argv;
const width = Number(process.env.BENCH_WIDTH);
const x = Float32Array.from({ length: width }, (_, index) => Math.sin(index));

/** Stock settings: as shipped, and what tare uses. */
const SETTINGS = {
  shipped: {},
  same: {
    graphOptimizationLevel: "extended",
    extra: { session: { disable_prepacking: "1", intra_op: { allow_spinning: "0" } } },
  },
};

const jobs = {
  async add(store, folder, name) {
    const began = performance.now();
    const result = await (await openStore({ path: store })).add([folder], { as: name });
    return { ms: performance.now() - began, newBytes: result.newBytes };
  },
  async export(store, name, out) {
    const began = performance.now();
    await (await openStore({ path: store })).export(name, out);
    return { ms: performance.now() - began };
  },
  async stock(settings, ...folders) {
    const { default: ort } = await import("onnxruntime-node");
    const before = memory();
    const feeds = { x: new ort.Tensor("float32", x, [1, width]) };
    const load = async (folder) => {
      const session = await ort.InferenceSession.create(`${folder}/model.onnx`, SETTINGS[settings]);
      return async () => (await session.run(feeds)).y.data;
    };
    return loadAll(folders, load, before);
  },
  async tare(path, ...names) {
    const runtime = openRuntime(await openStore({ path }));
    const input = { dtype: "float32", shape: [1, width], bytes: new Uint8Array(x.buffer) };
    // The engine's threads start with the first load, which is of another model's session and released.
    const warm = await runtime.load(names[0]);
    await warm.release();
    const before = memory();
    const load = async (name) => {
      const session = await runtime.load(name);
      return async () => (await session.run({ x: input })).y.bytes;
    };
    const result = await loadAll(names, load, before);
    await runtime[Symbol.asyncDispose]();
    return result;
  },
  /** Runs of both, in turn, in one process. */
  async runs(path, name, folder, count) {
    const { default: ort } = await import("onnxruntime-node");
    const stock = await ort.InferenceSession.create(`${folder}/model.onnx`, SETTINGS.same);
    const feeds = { x: new ort.Tensor("float32", x, [1, width]) };
    const runtime = openRuntime(await openStore({ path }));
    const session = await runtime.load(name);
    const input = { dtype: "float32", shape: [1, width], bytes: new Uint8Array(x.buffer) };
    const times = { stock: [], tare: [] };
    let equal = true;
    for (let round = 0; round < Number(count) + 2; round++) {
      const began = performance.now();
      const theirs = (await stock.run(feeds)).y.data;
      const middle = performance.now();
      const ours = (await session.run({ x: input })).y.bytes;
      const ended = performance.now();
      equal &&= Buffer.compare(Buffer.from(theirs.buffer, theirs.byteOffset, theirs.byteLength), ours) === 0;
      if (round < 2) continue;
      times.stock.push(middle - began);
      times.tare.push(ended - middle);
    }
    await runtime[Symbol.asyncDispose]();
    const ratios = times.tare.map((ms, index) => ms / times.stock[index]);
    return { stockMs: median(times.stock), tareMs: median(times.tare), ratio: median(ratios), equal };
  },
};

const result = await jobs[what](...args);
console.log(JSON.stringify({ ...result, peak: process.resourceUsage().maxRSS * 1024 }));

async function loadAll(names, load, before) {
  const times = [];
  const runs = [];
  for (const name of names) {
    const began = performance.now();
    runs.push(await load(name));
    times.push(performance.now() - began);
  }
  const firstRuns = [];
  for (const run of runs) {
    const began = performance.now();
    await run();
    firstRuns.push(performance.now() - began);
  }
  return { times, firstRuns, memory: memory() - before };
}

function memory() {
  globalThis.gc?.();
  return Number(/^Pss:\s+(\d+) kB/m.exec(readFileSync("/proc/self/smaps_rollup", "utf8"))[1]) * 1024;
}

function median(values) {
  return values.toSorted((a, b) => a - b)[values.length >> 1];
}
