/**
 * Measures a refit against making a session anew in the stock engine, on a model of about 0.9 GB in 369 nodes and on
 * one of 4,600 nodes and 20 MB: two models of each, alike but for their weights. Prints ratios; asserts nothing.
 */
import { rmSync } from "node:fs";
import { fileURLToPath } from "node:url";
import ort from "onnxruntime-node";
import prettyBytes from "pretty-bytes";
import { openStore } from "tare";
import { generateFamily } from "./family.mjs";
import { heading, row, s } from "./print.mjs";

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const root = here("../build/bench");
const ROUNDS = 5;

for (const [label, width, blocks] of [
  ["0.9 GB, 369 nodes", 1360, 123],
  ["20 MB, 4,599 nodes", 57, 1533],
]) {
  await measure(label, width, Number(process.env.BENCH_BLOCKS ?? blocks));
}

async function measure(label, width, blocks) {
  const [base, other] = generateFamily(`${root}/refit-${width}-${blocks}`, {
    models: 2,
    blocks,
    width,
    own: 1,
  });
  const path = `${root}/refit-store`;
  rmSync(path, { recursive: true, force: true });
  const store = await openStore({ path, workers: 1 });
  await store.add([base.folder], { as: "base" });
  await store.add([other.folder], { as: "other" });
  const x = Float32Array.from({ length: width }, (_, index) => Math.sin(index));
  const inputs = { x: { dtype: "float32", shape: [1, width], bytes: new Uint8Array(x.buffer) } };
  const feeds = { x: new ort.Tensor("float32", x, [1, width]) };
  const weights = (await store.show("base")).methods[0].weights;
  const bytes = weights.reduce((sum, weight) => sum + weight.bytes, 0);
  heading(label, `${weights.length} weights, ${prettyBytes(bytes)}; the best of ${ROUNDS} rounds`);

  const create = async (extra) => {
    const session = await ort.InferenceSession.create(`${other.folder}/model.onnx`, {
      graphOptimizationLevel: "extended",
      ...extra,
    });
    await session.release();
  };
  const off = { extra: { session: { disable_prepacking: "1" } } };
  const packed = await best(() => create({}), blocks > 1000 ? 2 : 3);
  const plain = await best(() => create(off));
  row("stock create", `${s(packed)} as shipped, ${s(plain)} without prepacking`, "");

  const compile = await best(async () => {
    await store.gc({ cache: true });
    await store.compile("base");
  }, 2);
  row("tare compile", s(compile), `${percent(compile / packed)} of stock create`);
  const load = await best(async () => (await store.load("other")).release());
  row("tare load", s(load), `${percent(load / packed)} of stock create`);

  let nth = 0;
  const all = await best(async () => {
    const name = `refit-${nth++}`;
    await store.refit("base", "other", { as: name });
    await (await store.load(name)).release();
  });
  const withs = `${percent(all / packed)} of stock create, ${percent(all / plain)} without prepacking`;
  row(
    "refit of all, and load",
    s(all),
    withs,
    all / packed <= 0.03 && all / plain <= 0.1,
    "≤ 3 % and ≤ 10 %",
  );

  const twentieth = Math.max(1, Math.round(weights.length / 20));
  const few = await tensorsOf(store, "other", weights.slice(0, twentieth));
  const part = await best(async () => {
    const name = `part-${nth++}`;
    await store.refit("base", few, { as: name, partial: true });
    await (await store.load(name)).release();
  });
  row("refit of 5 %, and load", s(part), `${percent(part / packed)} of stock create`);

  const live = await store.openMutable("base", { mutable: Object.keys(few) });
  const inPlace = await best(() => live.loadStateDict(few, { partial: true }));
  row("5 % through inputs", s(inPlace), `${percent(inPlace / packed)} of stock create`);

  const session = await store.load(`refit-0`);
  const stock = await ort.InferenceSession.create(`${other.folder}/model.onnx`, {
    graphOptimizationLevel: "extended",
    ...off,
  });
  const [theirs, ours, before] = [
    await best(() => stock.run(feeds), 20),
    await best(() => session.run(inputs), 20),
    await best(() => live.run(inputs), 20),
  ];
  const equal = Buffer.compare(
    Buffer.from((await stock.run(feeds)).y.data.buffer),
    Buffer.from((await session.run(inputs)).y.bytes),
  );
  const outputs = equal === 0 ? "bit-equal" : "NOT EQUAL";
  row(
    "run after the refit",
    `stock ${s(theirs)}, tare ${s(ours)}, 5 % fed ${s(before)}, ${outputs}`,
    `${(ours / theirs).toFixed(2)} × stock`,
  );
  await stock.release();
  await session.release();
  await live.release();
  await store[Symbol.asyncDispose]();
  rmSync(path, { recursive: true, force: true });
}

/** Weights of a model, as a state dict. */
async function tensorsOf(store, model, weights) {
  const data = await store.namedData(model);
  const tensors = {};
  for (const { name, dtype, shape } of weights) {
    const { bytes } = await data.data(name);
    tensors[name] = { dtype, shape, bytes: new Uint8Array(bytes) };
  }
  return tensors;
}

async function best(work, rounds = ROUNDS) {
  let least = Number.POSITIVE_INFINITY;
  for (let round = 0; round < rounds; round++) {
    const began = performance.now();
    await work();
    least = Math.min(least, performance.now() - began);
  }
  return least;
}

function percent(share) {
  return `${(100 * share).toPrecision(2)} %`;
}
