/** One measurement in a process of its own: `quantized-child.mjs WHAT ARGUMENT…`; prints one line of JSON. */
import { readFileSync } from "node:fs";
import { describeModel, openRuntime, openStore } from "tare";
import { median } from "./print.mjs";

const [, , what, ...args] = process.argv;
const width = Number(process.env.BENCH_WIDTH);
const ROUNDS = 21;

const jobs = {
  async add(path, name, folder) {
    await (await openStore({ path })).add([folder], { as: name });
    return {};
  },
  /** Loads and runs all models. */
  async load(who, path, ...names) {
    const { load, close } = await (who === "tare" ? tare(path) : stock());
    // tare's engine lives in threads, which start with the first load; whatever it takes counts.
    const warm = who === "tare" ? await load(names[0]) : undefined;
    await warm?.release();
    const before = memory();
    const times = [];
    const sessions = [];
    for (const name of names) {
      const began = performance.now();
      sessions.push(await load(name));
      times.push(performance.now() - began);
    }
    if (warm) times[0] = Math.max(times[0], warm.ms);
    for (const session of sessions) await session.run(1);
    const after = memory();
    await close();
    return { times, pss: after.pss - before.pss, anonymous: after.anonymous - before.anonymous };
  },
  /** What the packed files of a store hold, in bytes: packed, weights a second time; and weights that are not packed. */
  async packed(path) {
    const { readdir, open, stat } = await import("node:fs/promises");
    const folder = `${path}/cache/packed`;
    const inside = new Set();
    let packed = 0;
    let second = 0;
    for (const name of await readdir(folder)) {
      const { size } = await stat(`${folder}/${name}`);
      const handle = await open(`${folder}/${name}`, "r");
      const tail = Buffer.alloc(4096);
      await handle.read(tail, 0, 4096, size - 4096);
      await handle.close();
      const end = tail.length - 36;
      const record = JSON.parse(tail.subarray(end - tail.readUInt32LE(end), end).toString());
      inside.add(name.slice(0, 64));
      packed += record.end - record.start;
      second += record.weight;
    }
    const store = await openStore({ path });
    const others = new Map();
    for (const { name } of await store.list()) {
      for (const { digest, bytes } of (await describeModel(store, name)).methods[0].weights)
        if (!inside.has(digest.slice(7))) others.set(digest, bytes);
    }
    return { packed, second, rest: [...others.values()].reduce((sum, bytes) => sum + bytes, 0) };
  },
  /** Runs of both, in turn. */
  async runs(path, name, folder) {
    const theirs = await stock();
    const ours = await tare(path);
    const [a, b] = [await theirs.load(folder), await ours.load(name)];
    const rounds = [];
    for (const rows of [1, 16]) {
      const times = { stock: [], tare: [] };
      let equal = true;
      for (let round = 0; round < ROUNDS + 2; round++) {
        const began = performance.now();
        const left = await a.run(rows);
        const middle = performance.now();
        const right = await b.run(rows);
        const ended = performance.now();
        equal &&= Buffer.compare(left, right) === 0;
        if (round < 2) continue;
        times.stock.push(middle - began);
        times.tare.push(ended - middle);
      }
      const ratio = median(times.stock.map((ms, index) => ms / times.tare[index]));
      rounds.push({ rows, stockMs: median(times.stock), tareMs: median(times.tare), ratio, equal });
    }
    await ours.close();
    return { rounds };
  },
};

const result = await jobs[what](...args);
console.log(JSON.stringify(result));

async function stock() {
  const { default: ort } = await import("onnxruntime-node");
  const load = async (folder) => {
    // As shipped, but for spinning: idle threads of one session slow the others down.
    const session = await ort.InferenceSession.create(`${folder}/model.onnx`, {
      extra: { session: { intra_op: { allow_spinning: "0" } } },
    });
    const run = async (rows) => {
      const { y } = await session.run({ x: new ort.Tensor("float32", values(rows), [rows, width]) });
      return Buffer.from(y.data.buffer, y.data.byteOffset, y.data.byteLength);
    };
    return { run, release: () => session.release() };
  };
  return { load, close: async () => undefined };
}

async function tare(path) {
  const runtime = openRuntime(await openStore({ path }));
  const load = async (name) => {
    const began = performance.now();
    const session = await runtime.load(name);
    const ms = performance.now() - began;
    const run = async (rows) => {
      const bytes = new Uint8Array(values(rows).buffer);
      const { y } = await session.run({ x: { dtype: "float32", shape: [rows, width], bytes } });
      return Buffer.from(y.bytes);
    };
    return { run, ms, release: () => session.release() };
  };
  return { load, close: () => runtime[Symbol.asyncDispose]() };
}

function values(rows) {
  return Float32Array.from({ length: rows * width }, (_, index) => Math.sin(index));
}

function memory() {
  globalThis.gc?.();
  const rollup = readFileSync("/proc/self/smaps_rollup", "utf8");
  const of = (name) => Number(new RegExp(`^${name}:\\s+(\\d+) kB`, "m").exec(rollup)[1]) * 1024;
  return { pss: of("Pss"), anonymous: of("Anonymous") };
}
