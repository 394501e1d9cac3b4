import { spawn } from "node:child_process";
import { once } from "node:events";
import { readdir, readFile, stat, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import * as ort from "onnxruntime-node";
import { describe, expect, test } from "vitest";
import { openOnnxRuntime } from "../../../src/engines/onnxruntime/engine.ts";
import { openStore, type TareStore } from "../../../src/tare-store.ts";
import { StoredOnnx } from "../../../src/link/stored-program.ts";
import type { Method } from "../../../src/model/config.ts";
import type { Tensor, Tensors } from "../../../src/tensor/tensor.ts";
import { LocalStore } from "../../../src/local-store/local-store.ts";
import { SEAL } from "../../../src/local-store/commit-blob.ts";
import { CHARLM_GRAPHS, charlm } from "../../support/charlm.ts";
import { graph, ints, type Message, model, node, tensor, value } from "../../support/onnx-builder.ts";
import { LONG } from "../../support/speed.ts";
import { temporaryFolder } from "../../support/temporary.ts";
import { readModel } from "../../../src/store/read-model.ts";
import { runtimeOf } from "../../support/runtime.ts";
import { describeModel } from "../../../src/operations/describe.ts";

const SIZE = 128;
const ROWS = 3;

function numbers(count: number, seed: number): Float32Array {
  return Float32Array.from({ length: count }, (_, index) => Math.sin(index * seed + seed));
}

function weight(name: string, dims: readonly number[], seed: number): Message {
  const count = dims.reduce((product, dim) => product * dim, 1);
  return tensor(name, "float32", dims, { raw: new Uint8Array(numbers(count, seed).buffer) });
}

/** Half-precision numbers of about 1, of any bits. */
function halves(name: string, seed: number): Message {
  const bits = Uint16Array.from({ length: SIZE * SIZE }, (_, index) => 0x3800 + ((index * seed) % 0x800));
  return tensor(name, "float16", [SIZE, SIZE], { raw: new Uint8Array(bits.buffer) });
}

/** What stock folds: a cast, a LoRA kept in the graph, a concat, a transpose that nothing takes; and a small sum. */
function folded(options: { readonly lora?: number; readonly prefix?: string } = {}): Uint8Array {
  const { lora = 5, prefix = "" } = options;
  const p = (name: string): string => prefix + name;
  return model({
    graph: graph({
      nodes: [
        node("Transpose", [p("table")], ["columns"], { perm: { ints: [1, 0] } }),
        node("Gather", ["columns", "ids"], ["x"]),
        node("Cast", [p("half")], ["wide"], { to: { int: 1 } }),
        node("MatMul", ["x", "wide"], ["m1"]),
        node("MatMul", [p("b"), p("a")], ["delta"]),
        node("Add", [p("base"), "delta"], ["tuned"]),
        node("MatMul", ["m1", "tuned"], ["m2"]),
        node("Concat", [p("q"), p("k")], ["qk"], { axis: { int: 1 } }),
        node("MatMul", ["m2", "qk"], ["m3"]),
        node("Add", [p("s"), p("t")], ["bias"]),
        node("Add", ["m3", "bias"], ["y"]),
      ],
      initializers: [
        weight(p("table"), [SIZE, 64], 0.3),
        halves(p("half"), 7),
        weight(p("base"), [SIZE, SIZE], 0.7),
        weight(p("a"), [8, SIZE], lora),
        weight(p("b"), [SIZE, 8], 1.3),
        weight(p("q"), [SIZE, SIZE], 0.11),
        weight(p("k"), [SIZE, 2 * SIZE], 0.17),
        weight(p("s"), [3 * SIZE], 0.19),
        weight(p("t"), [3 * SIZE], 0.23),
      ],
      inputs: [value("ids", "int64", ["rows"])],
      outputs: [value("y", "float32", ["rows", 3 * SIZE])],
    }),
  });
}

/** Weights that only folded constants take. */
const FOLDED = ["a", "b", "base", "half", "k", "q", "table"];
const ids: Tensor = {
  dtype: "int64",
  shape: [ROWS],
  bytes: new Uint8Array(BigInt64Array.of(5n, 0n, 63n).buffer),
};

async function open(path: string): Promise<TareStore> {
  const store = await openStore({ path });
  return store;
}

async function storeOf(models: Readonly<Record<string, Uint8Array>>): Promise<TareStore> {
  const folder = await temporaryFolder();
  const store = await open(join(folder, "store"));
  for (const [name, bytes] of Object.entries(models)) {
    await writeFile(join(folder, `${name}.onnx`), bytes);
    await store.add([join(folder, `${name}.onnx`)]);
  }
  return store;
}

const bytesOf = ({ y }: Tensors): Buffer => Buffer.from(y && y.dtype !== "string" ? y.bytes : []);

async function outputOf(store: TareStore, name: string, verify = false): Promise<Buffer> {
  await using session = await runtimeOf(store).load(name, { verify });
  return bytesOf(await session.run({ ids }));
}

async function stock(bytes: Uint8Array): Promise<Buffer> {
  const session = await ort.InferenceSession.create(bytes, {
    graphOptimizationLevel: "extended",
    extra: { session: { disable_prepacking: "1" } },
  });
  const { y } = await session.run({ ids: new ort.Tensor("int64", BigInt64Array.of(5n, 0n, 63n), [ROWS]) });
  await session.release();
  return Buffer.from((y as { data: Float32Array }).data.slice().buffer);
}

const foldedFolder = (store: TareStore): string => join(store.path, "cache", "derived");
const filesOf = async (store: TareStore): Promise<string[]> =>
  (await readdir(foldedFolder(store)).catch(() => [])).sort();

async function spoil(path: string): Promise<void> {
  const bytes = await readFile(path);
  bytes.set(
    [1, 2, 3, 4].map((each, index) => each ^ (bytes[index] as number)),
    64,
  );
  await writeFile(path, bytes);
}

describe("Runtime.load() of a program that computes weights of weights", () => {
  test("derives them once, and gives bit for bit what their nodes give at each call, and what stock gives", async () => {
    const store = await storeOf({ m: folded() });
    await using session = await runtimeOf(store).load("m");
    expect([...session.foldedWeights].sort()).toEqual(FOLDED);
    const output = bytesOf(await session.run({ ids }));
    expect((await filesOf(store)).length).toBe(4);
    await using live = await runtimeOf(store).openMutable("m", { mutable: ["s"] });
    expect(output.equals(bytesOf(await live.run({ ids })))).toBe(true);
    expect(output.equals(await stock(folded()))).toBe(true);
  });

  test("takes the bytes of the file, which is what it maps", async () => {
    const store = await storeOf({ m: folded() });
    const right = await outputOf(store, "m");
    for (const name of await filesOf(store)) {
      const path = join(foldedFolder(store), name);
      await spoil(path);
      await utimes(path, SEAL, SEAL);
    }
    expect((await outputOf(store, "m")).equals(right)).toBe(false);
    expect((await outputOf(store, "m", true)).equals(right)).toBe(true);
    expect((await outputOf(store, "m")).equals(right)).toBe(true);
  });

  test("makes a damaged file anew", async () => {
    const store = await storeOf({ m: folded() });
    const right = await outputOf(store, "m");
    for (const name of await filesOf(store)) {
      const path = join(foldedFolder(store), name);
      const whole = await readFile(path);
      for (const damage of [
        () => spoil(path),
        () => writeFile(path, whole.subarray(0, whole.length - 100)),
        () => writeFile(path, whole.subarray(1)),
        () => writeFile(path, ""),
      ]) {
        await damage();
        expect((await outputOf(store, "m")).equals(right)).toBe(true);
        expect((await readFile(path)).equals(whole)).toBe(true);
        expect((await stat(path)).mtimeMs).toBe(SEAL * 1000);
      }
    }
  });

  test("shares what has equal inputs, whatever graph and name they come with", async () => {
    const other = model({
      graph: graph({
        nodes: [
          node("Identity", ["ids"], ["same"]),
          node("Transpose", ["decoder.table"], ["t"], { perm: { ints: [1, 0] } }, "decoder/Transpose"),
          node("Gather", ["t", "same"], ["y"]),
        ],
        initializers: [weight("decoder.table", [SIZE, 64], 0.3)],
        inputs: [value("ids", "int64", ["rows"])],
        outputs: [value("y", "float32", ["rows", SIZE])],
      }),
    });
    const store = await storeOf({
      m: folded(),
      renamed: folded({ prefix: "x." }),
      tuned: folded({ lora: 9 }),
      other,
    });
    await outputOf(store, "m");
    const files = await filesOf(store);
    const renamed = await outputOf(store, "renamed");
    expect(renamed.equals(await stock(folded()))).toBe(true);
    expect((await outputOf(store, "other")).equals(await stock(other))).toBe(true);
    expect(await filesOf(store)).toEqual(files);
    expect((await outputOf(store, "tuned")).equals(await stock(folded({ lora: 9 })))).toBe(true);
    expect((await filesOf(store)).length).toBe(files.length + 1);
  });

  test("shares between the graphs of one model, which name a weight differently", async () => {
    const part = (name: string): Uint8Array =>
      model({
        graph: graph({
          nodes: [
            node("Transpose", [name], [`${name}.T`], { perm: { ints: [1, 0] } }),
            node("Gather", [`${name}.T`, "ids"], ["y"]),
          ],
          initializers: [weight(name, [SIZE, 64], 0.3)],
          inputs: [value("ids", "int64", ["rows"])],
          outputs: [value("y", "float32", ["rows", SIZE])],
        }),
      });
    const folder = await temporaryFolder();
    const methods = ["encoder", "decoder"];
    for (const name of methods) await writeFile(join(folder, `${name}.onnx`), part(`${name}.table`));
    const store = await open(join(folder, "store"));
    await store.add(
      methods.map((name) => join(folder, `${name}.onnx`)),
      { as: "m" },
    );
    for (const method of methods) {
      await using session = await runtimeOf(store).load("m", { method });
      expect(session.foldedWeights).toEqual([`${method}.table`]);
      expect(bytesOf(await session.run({ ids })).equals(await stock(part("w")))).toBe(true);
    }
    expect((await filesOf(store)).length).toBe(1);
  });

  test("derives nothing where no node has weights alone", async () => {
    const family = await charlm();
    const store = await open(join(await temporaryFolder(), "store"));
    await store.add([join(family, "base")]);
    for (const method of CHARLM_GRAPHS) {
      await using session = await runtimeOf(store).load("base", { method });
      expect(session.foldedWeights).toEqual([]);
    }
    expect(await filesOf(store)).toEqual([]);
  });

  test("is shown and counted, and collected with the last model that has all that it is folded from", async () => {
    const store = await storeOf({ m: folded(), tuned: folded({ lora: 9 }) });
    const said = async (): Promise<string[]> =>
      ((await describeModel(store, "m")).methods[0]?.weights ?? [])
        .filter((each) => each.folded)
        .map((each) => each.name)
        .sort();
    expect((await store.status()).foldedBytes).toBe(0);
    await outputOf(store, "m");
    expect(await said()).toEqual(FOLDED);
    const files = await filesOf(store);
    await outputOf(store, "tuned");
    const all = await filesOf(store);
    const sizes = await Promise.all(
      all.map(async (name) => (await stat(join(foldedFolder(store), name))).size),
    );
    const { foldedBytes, cacheBytes } = await store.status();
    expect(foldedBytes).toBe(sizes.reduce((sum, size) => sum + size, 0));
    expect(cacheBytes).toBeLessThan(SIZE * SIZE);
    await store.gc();
    expect(await filesOf(store)).toEqual(all);
    await store.remove(["tuned"]);
    await store.gc();
    expect(await filesOf(store)).toEqual(files);
    await store.gc({ cache: true });
    expect(await filesOf(store)).toEqual([]);
    expect((await outputOf(store, "m")).equals(await stock(folded()))).toBe(true);
  });

  test("is made by several processes at once", LONG, async () => {
    const store = await storeOf({ m: folded(), tuned: folded({ lora: 9 }) });
    const script = join(await temporaryFolder(), "load.mjs");
    const index = fileURLToPath(new URL("../../../dist/index.js", import.meta.url));
    await writeFile(
      script,
      `import { openRuntime, openStore } from ${JSON.stringify(index)};
       const store = await openStore({ path: process.argv[2] });
       const runtime = openRuntime(store);
       const sessions = await Promise.all(["m", "tuned", "m"].map((name) => runtime.load(name)));
       for (const session of sessions) if (session.foldedWeights.length !== ${FOLDED.length}) process.exit(3);
       await runtime[Symbol.asyncDispose]();`,
    );
    const children = [1, 2, 3].map(() =>
      spawn(process.execPath, [script, store.path], { stdio: ["ignore", "ignore", "inherit"] }),
    );
    const codes = await Promise.all(children.map(async (child) => (await once(child, "exit"))[0] as number));
    expect(codes).toEqual([0, 0, 0]);
    expect((await filesOf(store)).length).toBe(5);
    expect(await readdir(join(store.path, "tmp"))).toEqual([]);
    expect((await outputOf(store, "m")).equals(await stock(folded()))).toBe(true);
  });

  test("keeps the nodes where nothing can be kept", async () => {
    const { path } = await storeOf({ m: folded() });
    const files = await LocalStore.open(path);
    const stored = await readModel(files, "m");
    const method = stored.config.methods[0] as Method;
    const full = { get: () => Promise.resolve(undefined), make: () => Promise.resolve(undefined) };
    await using engine = openOnnxRuntime({ workers: 1, caches: { folded: full } });
    await using session = await engine.load(new StoredOnnx(files, stored, method));
    expect(session.foldedWeights).toEqual([]);
    expect(bytesOf(await session.run({ ids })).equals(await stock(folded()))).toBe(true);
  });

  test("follows a weight that changes in memory", async () => {
    const store = await storeOf({ m: folded() });
    await using live = await runtimeOf(store).openMutable("m");
    expect(bytesOf(await live.run({ ids })).equals(await stock(folded()))).toBe(true);
    const a = {
      dtype: "float32",
      shape: [8, SIZE],
      bytes: new Uint8Array(numbers(8 * SIZE, 9).buffer),
    } as const;
    await live.set("a", a);
    expect(bytesOf(await live.run({ ids })).equals(await stock(folded({ lora: 9 })))).toBe(true);
  });

  test("leaves what grows, what is small, what is a view, and what is an output", async () => {
    const bytes = model({
      graph: graph({
        nodes: [
          node("Expand", ["row", "large"], ["grown"]),
          node("Reshape", ["w", "shape"], ["seen"]),
          node("Neg", ["v"], ["given"]),
          node("Gather", ["grown", "ids"], ["g"]),
          node("Gather", ["seen", "ids"], ["h"]),
          node("Add", ["g", "h"], ["y"]),
        ],
        initializers: [
          weight("row", [1, SIZE], 0.3),
          weight("w", [SIZE * SIZE], 0.5),
          weight("v", [SIZE, SIZE], 0.9),
          tensor("large", "int64", [2], ints(SIZE, SIZE)),
          tensor("shape", "int64", [2], ints(SIZE, SIZE)),
        ],
        inputs: [value("ids", "int64", ["rows"])],
        outputs: [value("y", "float32"), value("given", "float32")],
      }),
    });
    const store = await storeOf({ m: bytes });
    await using session = await runtimeOf(store).load("m");
    expect(session.foldedWeights).toEqual([]);
    expect(bytesOf(await session.run({ ids })).equals(await stock(bytes))).toBe(true);
    expect(await filesOf(store)).toEqual([]);
  });
});
