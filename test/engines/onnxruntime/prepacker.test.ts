import { spawn } from "node:child_process";
import { once } from "node:events";
import { copyFile, readdir, readFile, stat, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import * as ort from "onnxruntime-node";
import { describe, expect, test } from "vitest";
import { prepackKey } from "../../../src/engines/onnxruntime/prepacker.ts";
import { openStore, type TareStore } from "../../../src/tare-store.ts";
import type { Binding } from "../../../src/model/link-plan.ts";
import type { Tensor, Tensors } from "../../../src/tensor/tensor.ts";
import { SEAL } from "../../../src/local-store/commit-blob.ts";
import { floats, graph, model, node, tensor, value } from "../../support/onnx-builder.ts";
import { LONG } from "../../support/speed.ts";
import { temporaryFolder } from "../../support/temporary.ts";
import { runtimeOf } from "../../support/runtime.ts";
import { link } from "../../../src/link/link-folder.ts";
import { describeModel } from "../../../src/operations/describe.ts";

const FIXTURES = fileURLToPath(new URL("../../../fixtures/onnx-quantized/", import.meta.url));
const SIZE = 192;
const MODELS = ["base", "tuned"] as const;
/** Weights that have one prepacked copy for all: the scales and zero points of `MatMulNBits` go into its. */
const PREPACKED = ["head.weight", "layer.0.weight", "layer.1.weight", "layer.2.weight"];

async function storeOf(...models: readonly string[]): Promise<TareStore> {
  const store = await open(join(await temporaryFolder(), "store"));
  for (const name of models) await store.add([join(FIXTURES, `${name}.onnx`)]);
  return store;
}

async function open(path: string): Promise<TareStore> {
  const store = await openStore({ path });
  return store;
}

function inputOf(rows: number): Tensor {
  const values = Float32Array.from({ length: rows * SIZE }, (_, index) => Math.sin(index));
  return { dtype: "float32", shape: [rows, SIZE], bytes: new Uint8Array(values.buffer) };
}

async function outputOf(store: TareStore, name: string, rows = 16, verify = false): Promise<Buffer> {
  await using session = await runtimeOf(store).load(name, { verify });
  const { y } = await session.run({ x: inputOf(rows) });
  return Buffer.from(y && y.dtype !== "string" ? y.bytes : []);
}

/** What stock ONNX Runtime gives as shipped, with prepacking on. */
async function stock(path: string, rows = 16): Promise<Buffer> {
  const session = await ort.InferenceSession.create(path, { graphOptimizationLevel: "extended" });
  const { bytes, shape } = inputOf(rows) as Tensor & { bytes: Uint8Array };
  const x = new ort.Tensor("float32", new Float32Array(bytes.buffer as ArrayBuffer), shape);
  const { y } = await session.run({ x });
  await session.release();
  return Buffer.from((y as { data: Float32Array }).data.slice().buffer);
}

const fixture = (name: string): string => join(FIXTURES, `${name}.onnx`);
const prepackedFolder = (store: TareStore): string => join(store.path, "cache", "packed");

async function weightOf(store: TareStore, name: string, weight: string): Promise<string> {
  const found = (await describeModel(store, name)).methods[0]?.weights.find((each) => each.name === weight);
  return (found?.digest ?? "").slice("sha256:".length);
}

/** The prepacked file of a weight. */
async function prepackedFile(store: TareStore, name: string, weight: string): Promise<string> {
  const digest = await weightOf(store, name, weight);
  const [file] = (await readdir(prepackedFolder(store))).filter((each) => each.startsWith(digest));
  return join(prepackedFolder(store), file as string);
}

/** Changes bytes in the middle of what was prepacked. */
async function spoil(path: string): Promise<void> {
  const bytes = await readFile(path);
  for (let at = bytes.length >> 1; at < (bytes.length >> 1) + 4096; at++) bytes[at] = ~(bytes[at] ?? 0) & 255;
  await writeFile(path, bytes);
}

describe("Runtime.load() of a quantized family", () => {
  test.each([1, 16])(
    "equals stock ONNX Runtime with prepacking on, bit for bit, at %i rows",
    async (rows) => {
      const store = await storeOf(...MODELS);
      const expected = JSON.parse(await readFile(join(FIXTURES, "expected.json"), "utf8")) as {
        models: Record<string, Record<string, number[]>>;
      };
      for (const name of MODELS) {
        const ours = await outputOf(store, name, rows);
        expect(ours.equals(await stock(fixture(name), rows)), name).toBe(true);
        // Python's, of the machine that made the fixtures: others sum in another order.
        const last = new Float32Array(new Uint8Array(ours).buffer).slice(-24);
        const apart = last.map((each, index) =>
          Math.abs(each - (expected.models[name]?.[rows]?.[index] as number)),
        );
        expect(Math.max(...apart)).toBeLessThan(1e-3);
      }
    },
  );

  test("has one prepacked copy of what models share, and makes none again", async () => {
    const store = await storeOf(...MODELS);
    await using base = await runtimeOf(store).load("base");
    expect([...base.prepackedWeights].sort()).toEqual(PREPACKED);
    expect((await readdir(prepackedFolder(store))).length).toBe(4);
    const inodes = async (): Promise<number[]> =>
      Promise.all(
        (await readdir(prepackedFolder(store))).sort().map(async (name) => {
          return (await stat(join(prepackedFolder(store), name))).ino;
        }),
      );
    const before = await inodes();
    await using tuned = await runtimeOf(store).load("tuned");
    expect([...tuned.prepackedWeights].sort()).toEqual(PREPACKED);
    const after = await inodes();
    expect(after.length).toBe(5);
    expect(after).toEqual(expect.arrayContaining(before));
    await outputOf(await open(store.path), "tuned");
    expect(await inodes()).toEqual(after);
    expect(await readdir(join(store.path, "tmp"))).toEqual([]);
  });

  test("maps prepacked bytes from the file: others there change the output", async () => {
    const store = await storeOf("base");
    await outputOf(store, "base");
    for (const weight of PREPACKED) {
      const path = await prepackedFile(store, "base", weight);
      const whole = await readFile(path);
      await spoil(path);
      await utimes(path, SEAL, SEAL);
      expect((await outputOf(store, "base")).equals(await stock(fixture("base"))), weight).toBe(false);
      await writeFile(path, whole);
    }
    expect((await outputOf(store, "base")).equals(await stock(fixture("base")))).toBe(true);
  });

  test("makes a prepacked file anew that was written to or cut off", async () => {
    const store = await storeOf("base");
    const right = await outputOf(store, "base");
    const path = await prepackedFile(store, "base", "layer.1.weight");
    const whole = await readFile(path);
    for (const damage of [
      () => spoil(path),
      () => writeFile(path, whole.subarray(0, whole.length - 100)),
      () => writeFile(path, whole.subarray(0, 5)),
      () => writeFile(path, Buffer.concat([Buffer.alloc(4096), whole.subarray(4096)])),
      () => writeFile(path, ""),
    ]) {
      await damage();
      expect((await outputOf(store, "base")).equals(right)).toBe(true);
      expect((await readFile(path)).equals(whole)).toBe(true);
      expect((await stat(path)).mtimeMs).toBe(SEAL * 1000);
    }
  });

  test("finds damage behind a kept time where it is told to hash", async () => {
    const store = await storeOf("base");
    const right = await outputOf(store, "base");
    const path = await prepackedFile(store, "base", "head.weight");
    await spoil(path);
    await utimes(path, SEAL, SEAL);
    expect((await outputOf(store, "base", 16, true)).equals(right)).toBe(true);
    expect((await outputOf(store, "base")).equals(right)).toBe(true);
  });

  test("trusts a prepacked file that was copied only after hashing it", async () => {
    const store = await storeOf("base");
    const right = await outputOf(store, "base");
    const path = await prepackedFile(store, "base", "layer.0.weight");
    await utimes(path, new Date(), new Date());
    const { ino } = await stat(path);
    expect((await outputOf(store, "base")).equals(right)).toBe(true);
    expect(await stat(path)).toMatchObject({ ino, mtimeMs: SEAL * 1000 });
  });

  test("is counted, and collected with the last model that has the weight", async () => {
    const store = await storeOf(...MODELS);
    for (const name of MODELS) await outputOf(store, name);
    const own = await weightOf(store, "tuned", "layer.2.weight");
    const files = await readdir(prepackedFolder(store));
    const sizes = await Promise.all(
      files.map(async (name) => (await stat(join(prepackedFolder(store), name))).size),
    );
    expect((await store.status()).prepackedBytes).toBe(sizes.reduce((sum, size) => sum + size, 0));
    await store.gc();
    expect(await readdir(prepackedFolder(store))).toEqual(files);
    await store.remove(["tuned"]);
    await store.gc();
    expect(await readdir(prepackedFolder(store))).toEqual(files.filter((name) => !name.startsWith(own)));
    await store.gc({ cache: true });
    expect(await readdir(prepackedFolder(store))).toEqual([]);
    expect((await outputOf(store, "base")).equals(await stock(fixture("base")))).toBe(true);
  });

  test("is made by several processes at once", LONG, async () => {
    const store = await storeOf(...MODELS);
    const script = join(await temporaryFolder(), "load.mjs");
    const index = fileURLToPath(new URL("../../../dist/index.js", import.meta.url));
    await writeFile(
      script,
      `import { openRuntime, openStore } from ${JSON.stringify(index)};
       const store = await openStore({ path: process.argv[2] });
       const runtime = openRuntime(store);
       const sessions = await Promise.all(["base", "tuned"].map((name) => runtime.load(name)));
       for (const session of sessions) if (session.prepackedWeights.length !== 4) process.exit(3);
       await runtime[Symbol.asyncDispose]();`,
    );
    const children = [1, 2, 3].map(() =>
      spawn(process.execPath, [script, store.path], { stdio: ["ignore", "ignore", "inherit"] }),
    );
    const codes = await Promise.all(children.map(async (child) => (await once(child, "exit"))[0] as number));
    expect(codes).toEqual([0, 0, 0]);
    expect((await readdir(prepackedFolder(store))).length).toBe(5);
    expect(await readdir(join(store.path, "tmp"))).toEqual([]);
    for (const name of MODELS)
      expect((await outputOf(store, name)).equals(await stock(fixture(name))), name).toBe(true);
  });

  test("prepacks for each session where prepacking is off or told to stay private", async () => {
    const store = await storeOf("base");
    await using off = await runtimeOf(store).load("base", { prepacking: "off" });
    expect([off.prepacked, off.prepackedWeights]).toEqual([false, []]);
    await using on = await runtimeOf(store).load("base", { prepacking: "on" });
    expect([on.prepacked, on.prepackedWeights.length]).toEqual([true, 4]);
  });

  test("says which weights are prepacked and shared", async () => {
    const store = await storeOf(...MODELS);
    const prepacked = async (): Promise<string[]> => {
      const weights = (await describeModel(store, "base")).methods[0]?.weights ?? [];
      expect(weights.filter((weight) => weight.copied)).toEqual([]);
      return weights
        .filter((weight) => weight.prepacked)
        .map((weight) => weight.name)
        .sort();
    };
    expect(await prepacked()).toEqual(PREPACKED);
    await outputOf(store, "base");
    expect(await prepacked()).toEqual(PREPACKED);
  });
});

describe("Runtime.load() of a program with MatMulNBits", () => {
  const opsets = { "": 17, "com.microsoft": 1 };
  const bits = { K: { int: SIZE }, N: { int: SIZE }, bits: { int: 4 }, block_size: { int: 32 } };
  const multiply = (to: string, scales = "scales"): Uint8Array =>
    node("com.microsoft::MatMulNBits", ["x", "weight", scales], [to], {
      ...bits,
      accuracy_level: { int: 4 },
    });
  const raw = Uint8Array.from({ length: SIZE * 96 }, (_, index) => (index * index) % 251);
  const scaleBytes = new Uint8Array(
    Float32Array.from({ length: SIZE * 6 }, (_, index) => 0.01 + (index % 7) / 1000).buffer,
  );
  const scales = { raw: scaleBytes };
  const weight = tensor("weight", "uint8", [SIZE, 6, 16], { raw });
  const x = value("x", "float32", ["rows", SIZE]);

  async function storeWith(bytes: Uint8Array): Promise<{ store: TareStore; path: string }> {
    const folder = await temporaryFolder();
    const path = join(folder, "m.onnx");
    await writeFile(path, bytes);
    const store = await open(join(folder, "store"));
    await store.add([path]);
    return { store, path };
  }

  const quantized = node("QuantizeLinear", ["x", "s", "z"], ["q"]);
  const dynamic = node("DynamicQuantizeLinear", ["x"], ["q", "qs", "qz"]);
  const back = node("DequantizeLinear", ["p", "s", "z"], ["y"]);
  test.each([
    [
      "QLinearMatMul",
      [quantized, node("QLinearMatMul", ["q", "s", "z", "b", "s", "z", "s", "z"], ["p"]), back],
    ],
    [
      "QGemm",
      [quantized, node("com.microsoft::QGemm", ["q", "s", "z", "b", "s", "z", "", "s", "z"], ["p"]), back],
    ],
    ["DynamicQuantizeMatMul", [node("com.microsoft::DynamicQuantizeMatMul", ["x", "b", "s", "z"], ["y"])]],
    [
      "MatMulIntegerToFloat",
      [dynamic, node("com.microsoft::MatMulIntegerToFloat", ["q", "b", "qs", "s", "qz", "z"], ["y"])],
    ],
  ])("shares what %s packs", async (_, nodes) => {
    const { store, path } = await storeWith(
      model({
        opsets,
        graph: graph({
          nodes,
          initializers: [
            tensor("b", "uint8", [SIZE, SIZE], { raw: Uint8Array.from([...raw, ...raw]) }),
            tensor("s", "float32", [], floats(0.02)),
            tensor("z", "uint8", [], { raw: Uint8Array.of(128) }),
          ],
          inputs: [x],
          outputs: [value("y", "float32")],
        }),
      }),
    );
    await using session = await runtimeOf(store).load("m");
    expect(session.prepackedWeights).toEqual(["b"]);
    const output = await outputOf(store, "m");
    expect(output.equals(await stock(path))).toBe(true);
    const file = await prepackedFile(store, "m", "b");
    await spoil(file);
    await utimes(file, SEAL, SEAL);
    expect((await outputOf(store, "m")).equals(output)).toBe(false);
  });

  test("leaves scales that are computed to the engine, which takes none but constants for what it packs", async () => {
    const { store, path } = await storeWith(
      model({
        opsets,
        graph: graph({
          nodes: [node("Mul", ["scales", "factors"], ["product"]), multiply("y", "product")],
          initializers: [
            weight,
            tensor("scales", "float32", [SIZE, 6], scales),
            tensor("factors", "float32", [6], floats(1, 2, 3, 4, 5, 6)),
          ],
          inputs: [x],
          outputs: [value("y", "float32")],
        }),
      }),
    );
    await using session = await runtimeOf(store).load("m");
    expect(session.weightlessBlocker).toMatch(/scales of MatMulNBits/);
    const output = await outputOf(store, "m");
    expect(output.equals(await stock(path))).toBe(true);
    expect(output.every((byte) => byte === 0)).toBe(false);
  });

  test("does not prepack where scales are an input: prepacked, all outputs would be zero", async () => {
    const { store } = await storeWith(
      model({
        opsets,
        graph: graph({
          nodes: [multiply("y")],
          initializers: [weight],
          inputs: [x, value("scales", "float32", [SIZE, 6])],
          outputs: [value("y", "float32")],
        }),
      }),
    );
    await using session = await runtimeOf(store).load("m");
    expect(session.prepacked).toBe(false);
    const fed: Tensor = { dtype: "float32", shape: [SIZE, 6], bytes: scaleBytes };
    const { y } = await session.run({ x: inputOf(1), scales: fed });
    const values = new Float32Array((y as { bytes: Uint8Array }).bytes.slice().buffer);
    expect(values.filter((each) => each === 0).length).toBeLessThan(SIZE / 2);
  });

  test("shares prepacked weights with the branches of an If, and between nodes of one", async () => {
    const { store, path } = await storeWith(
      model({
        opsets,
        graph: graph({
          nodes: [
            node("ReduceSum", ["x"], ["sum"], { keepdims: { int: 0 } }),
            node("Greater", ["sum", "zero"], ["condition"]),
            node("If", ["condition"], ["chosen"], {
              then_branch: {
                graph: graph({ nodes: [multiply("a")], outputs: [value("a", "float32")] }),
              },
              else_branch: {
                graph: graph({
                  nodes: [multiply("b"), node("Neg", ["b"], ["c"])],
                  outputs: [value("c", "float32")],
                }),
              },
            }),
            multiply("main"),
            node("Add", ["chosen", "main"], ["y"]),
          ],
          initializers: [
            weight,
            tensor("scales", "float32", [SIZE, 6], scales),
            tensor("zero", "float32", [], floats(0)),
          ],
          inputs: [x],
          outputs: [value("y", "float32")],
        }),
      }),
    );
    await using session = await runtimeOf(store).load("m");
    expect(session.prepackedWeights).toEqual(["weight"]);
    for (const rows of [1, 2, 16])
      expect((await outputOf(store, "m", rows)).equals(await stock(path, rows)), `${rows}`).toBe(true);
    const file = await prepackedFile(store, "m", "weight");
    await spoil(file);
    await utimes(file, SEAL, SEAL);
    expect((await outputOf(store, "m")).equals(await stock(path))).toBe(false);
  });
});

describe("packKey()", () => {
  const weight: Binding = {
    name: "w",
    dtype: "uint8",
    shape: [SIZE, 6, 16],
    digest: `sha256:${"a".repeat(64)}`,
    location: "blobs/sha256/a",
    offset: 0,
    length: SIZE * 96,
  };
  const scales: Binding = { ...weight, name: "s", digest: `sha256:${"b".repeat(64)}` };
  const nodes = { before: "AA==", graph: "BB==" };
  const target = { version: "1.30.0", cpu: "0123" };
  const key = prepackKey(
    nodes,
    [
      ["v0", weight],
      ["v1", scales],
    ],
    target,
  );

  test("begins with the weight's digest, and is the same wherever the weight lies and whatever it is called", () => {
    expect(key).toMatch(/^a{64}-[0-9a-f]{32}$/);
    const elsewhere = { ...weight, name: "other", location: "blobs/sha256/pack", offset: 64 };
    expect(
      prepackKey(
        nodes,
        [
          ["v0", elsewhere],
          ["v1", scales],
        ],
        target,
      ),
    ).toBe(key);
  });

  test("differs by all that prepacked bytes depend on", () => {
    const rest = { ...scales, digest: `sha256:${"c".repeat(64)}` } as const;
    const others = [
      prepackKey(
        nodes,
        [
          ["v0", weight],
          ["v1", scales],
        ],
        { ...target, version: "1.31.0" },
      ),
      prepackKey(
        nodes,
        [
          ["v0", weight],
          ["v1", scales],
        ],
        { ...target, cpu: "4567" },
      ),
      prepackKey(
        { ...nodes, graph: "CC==" },
        [
          ["v0", weight],
          ["v1", scales],
        ],
        target,
      ),
      prepackKey(
        nodes,
        [
          ["v0", weight],
          ["v1", rest],
        ],
        target,
      ),
      prepackKey(
        nodes,
        [
          ["v0", { ...weight, shape: [SIZE * 6, 16] }],
          ["v1", scales],
        ],
        target,
      ),
    ];
    expect(new Set([key, ...others]).size).toBe(6);
  });
});

describe("models that say themselves what is prepacked", () => {
  test("are not believed, by no engine that a link or a load leads to", async () => {
    const folder = await temporaryFolder();
    const data = Buffer.from(Float32Array.from({ length: 64 * 64 }, (_, index) => Math.cos(index)).buffer);
    // At an odd place, too short, and of another weight: each ends or misleads an engine that believes it.
    await writeFile(join(folder, "w.bin"), Buffer.concat([data, Buffer.alloc(data.length, 7)]));
    const hostile = {
      location: "w.bin",
      offset: 0,
      length: data.length,
      prepacked_0: `MatMul+15861218847818226536|${data.length + 1};100;0`,
    };
    const bytes = model({
      graph: graph({
        nodes: [node("MatMul", ["x", "w"], ["y"])],
        initializers: [tensor("w", "float32", [64, 64], { external: hostile })],
        inputs: [value("x", "float32", [1, 64])],
        outputs: [value("y", "float32", [1, 64])],
      }),
    });
    expect(Buffer.from(bytes).includes("prepacked_0")).toBe(true);
    await writeFile(join(folder, "m.onnx"), bytes);
    const store = await open(join(folder, "store"));
    await store.add([join(folder, "m.onnx")]);
    const { path } = await link(store, "m", join(folder, "view"));
    expect((await readFile(join(path, "m.onnx"))).includes("prepacked_")).toBe(false);
    const x = { dtype: "float32", shape: [1, 64], bytes: new Uint8Array(data.subarray(0, 256)) } as const;
    await using session = await runtimeOf(store).load("m", { prepacking: "on" });
    await using mapped = await runtimeOf(store).load("m");
    const [a, b] = await Promise.all([session, mapped].map((each) => each.run({ x })));
    const numbers = (tensors: Tensors | undefined): number[] => {
      const y = tensors?.y as { bytes: Uint8Array };
      return [...new Float32Array(y.bytes.slice().buffer)];
    };
    numbers(a).forEach((each, index) => expect(each).toBeCloseTo(numbers(b)[index] as number, 3));
    await copyFile(join(folder, "m.onnx"), join(folder, "original"));
    await store.export("m", join(folder, "out"));
    expect(
      (await readFile(join(folder, "out", "m.onnx"))).equals(await readFile(join(folder, "original"))),
    ).toBe(true);
  });
});
