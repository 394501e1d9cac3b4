import { readdir, readFile, rm, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import * as ort from "onnxruntime-node";
import { describe, expect, test } from "vitest";
import type { CharlmModel } from "../../fixtures/charlm/rebuild-gguf.mjs";
import type { Backend } from "../../src/compile/backends/backend.ts";
import type { CompiledModel } from "../../src/compile/backends/compiled-model.ts";
import type { OrtLoadOptions } from "../../src/engines/onnxruntime/engine.ts";
import { openCompiled } from "../../src/compile/compiled-folder.ts";
import type { CompileOptions } from "../../src/compile/compile-stored.ts";
import { openStore, type TareStore } from "../../src/tare-store.ts";
import type { Tensor, Tensors } from "../../src/tensor/tensor.ts";
import { changeJson } from "../support/change-json.ts";
import { CHARLM_GRAPHS } from "../support/charlm.ts";
import { floats, graph, ints, model, node, tensor, value } from "../support/onnx-builder.ts";
import { prepareStore } from "../support/prepared-store.ts";
import { LONG, SAMPLED, THOROUGH } from "../support/speed.ts";
import { temporaryFolder } from "../support/temporary.ts";
import { runtimeOf } from "../support/runtime.ts";
import { describeModel } from "../../src/operations/describe.ts";

async function familyStore(...models: readonly CharlmModel[]): Promise<TareStore> {
  const path = join(await temporaryFolder(), "store");
  await prepareStore(path, "onnx", models);
  const store = await openStore({ path });
  return store;
}

const ids = (...tokens: bigint[]): Tensor => {
  const bytes = new Uint8Array(new BigInt64Array(tokens).buffer);
  return { dtype: "int64", shape: [1, tokens.length], bytes };
};
const inputs: Tensors = { input_ids: ids(1n, 37n, 82n, 72n, 4n, 76n) };

function texts(outputs: Tensors): Record<string, string> {
  return Object.fromEntries(
    Object.entries(outputs).map(([name, each]) => [
      name,
      `[${each.shape.join()}] ${each.dtype === "string" ? "" : Buffer.from(each.bytes).toString("base64")}`,
    ]),
  );
}

/** Outputs of the model loaded whole. */
async function whole(store: TareStore, name: string, options: OrtLoadOptions = {}): Promise<Tensors> {
  await using session = await runtimeOf(store).load(name, { method: "decoder", ...options });
  return await session.run(inputs);
}

/** Outputs of the model in the partitions it was compiled to. */
async function compiled(store: TareStore, name: string, options: CompileOptions): Promise<Tensors> {
  await using session = await runtimeOf(store).loadCompiled(name, { method: "decoder", ...options });
  return await session.run(inputs);
}

/** Takes the node that makes a value, and nothing else. */
function castBackend(output: string): Backend {
  return {
    id: "cast",
    version: "1",
    takes: (each) => each.outputs.includes(output),
    compile: async () => {
      throw new TypeError("it should not come to that");
    },
  };
}

const backendsOf = ({ methods }: CompiledModel): string[][] =>
  methods.map((method) => method.partitions.map((partition) => partition.backend));

describe("Runtime.compile()", () => {
  test("makes one partition of each method unless told otherwise, and load() takes what it compiled", async () => {
    const store = await familyStore("base", "kjv");
    const first = await runtimeOf(store).compile("base");
    expect(first).toMatchObject({ cached: false, reused: 0 });
    expect(first.model.methods.map((method) => method.name)).toEqual([...CHARLM_GRAPHS]);
    expect(backendsOf(first.model)).toEqual([["onnxruntime"], ["onnxruntime"]]);
    for (const { partitions, signature } of first.model.methods) {
      const [partition] = partitions;
      expect(partition?.signature).toEqual(signature);
      expect(partition?.nodes.after).toBeLessThan(partition?.nodes.before ?? 0);
    }
    expect(first.model.records).toMatchObject([
      {
        backend: "onnxruntime",
        engine: "onnxruntime-node",
        version: expect.stringMatching(/^\d+\.\d+/),
        target: `${process.platform}-${process.arch}`,
        settings: { level: "extended", provider: "CPU" },
        dimensions: expect.arrayContaining([{ name: "sequence", from: 0, to: null }]),
      },
    ]);
    // The other model of the family: all of it was compiled, and binds its own weights.
    const second = await runtimeOf(store).compile("kjv");
    expect(second.cached).toBe(true);
    expect([...second.parts.keys()]).toEqual([...first.parts.keys()]);
    const digests = ({ methods }: CompiledModel): string[] =>
      methods.flatMap((method) =>
        method.partitions.flatMap((each) => each.bindings.map((binding) => binding.digest)),
      );
    expect(digests(second.model)).not.toEqual(digests(first.model));
    await using session = await runtimeOf(store).load("kjv", { method: "decoder" });
    expect(session.cached).toBe(true);
  });

  test("takes what load() compiled", async () => {
    const store = await familyStore("base");
    for (const method of CHARLM_GRAPHS) await (await runtimeOf(store).load("base", { method })).release();
    expect(await runtimeOf(store).compile("base")).toMatchObject({ cached: false, reused: 2 });
    expect(await runtimeOf(store).compile("base")).toMatchObject({ cached: true });
    await store.gc();
    expect(await runtimeOf(store).compile("base")).toMatchObject({ cached: true });
    await store.gc({ cache: true });
    expect(await runtimeOf(store).compile("base")).toMatchObject({ cached: false, reused: 0 });
  });

  test("says which weight the program binds for which, whatever the method calls it", async () => {
    const store = await familyStore("base");
    const { model: compiledModel } = await runtimeOf(store).compile("base");
    const info = await describeModel(store, "base");
    for (const method of compiledModel.methods) {
      const table = info.methods.find((each) => each.name === method.name)?.weights ?? [];
      const bound = method.partitions.flatMap((partition) => partition.bindings);
      expect(bound.map(({ weight, digest }) => `${weight} ${digest}`).sort()).toEqual(
        table.map(({ name, digest }) => `${name} ${digest}`).sort(),
      );
    }
    // The two methods share their weights, by digest.
    const [first, second] = compiledModel.methods.map(
      (method) => new Set(method.partitions.flatMap((each) => each.bindings.map(({ digest }) => digest))),
    );
    expect([...(first ?? [])].filter((digest) => !second?.has(digest))).toEqual([]);
  });

  test("gives the same programs for other weights", LONG, async () => {
    const partition = [{ nodes: "Softmax", backend: "portable" }];
    const [a, b] = await Promise.all((["base", "licence"] as const).map((name) => familyStore(name)));
    const first = await runtimeOf(a as TareStore).compile("base", { partition });
    const second = await runtimeOf(b as TareStore).compile("licence", { partition });
    expect(second.cached).toBe(false);
    expect([...second.parts.keys()]).toEqual([...first.parts.keys()]);
    expect(first.parts.size).toBeGreaterThan(10);
  });

  test("gives the same programs for weights that an optimizer would like to know", async () => {
    const store = await familyStore();
    const folder = await temporaryFolder();
    const of = (scale: number[], shift: number[], matrix: number[]): Uint8Array =>
      model({
        graph: graph({
          initializers: [
            tensor("scale", "float32", [2], floats(...scale)),
            tensor("shift", "float32", [2], floats(...shift)),
            tensor("matrix", "float32", [2, 2], floats(...matrix)),
          ],
          nodes: [
            node("Mul", ["x", "scale"], ["a"]),
            node("Add", ["a", "shift"], ["b"]),
            node("Transpose", ["matrix"], ["m"]),
            node("MatMul", ["b", "m"], ["c"]),
            node("Abs", ["c"], ["d"]),
            node("Mul", ["d", "scale"], ["y"]),
          ],
          inputs: [value("x", "float32", ["n", 2])],
          outputs: [value("y", "float32", ["n", 2])],
        }),
      });
    const random = (): number[] => Array.from({ length: 2 }, () => Math.random() * 8 - 4);
    await writeFile(join(folder, "plain.onnx"), of([1, 1], [0, 0], [1, 0, 0, 1]));
    await writeFile(join(folder, "random.onnx"), of(random(), random(), [...random(), ...random()]));
    const programs = async (name: string): Promise<string[]> => {
      await store.add([join(folder, `${name}.onnx`)]);
      const kept: string[] = [];
      for (const partition of [[], [{ nodes: "Abs", backend: "portable" }]]) {
        const { parts, cached } = await runtimeOf(store).compile(name, { partition });
        expect(cached).toBe(false);
        kept.push(...parts.keys());
      }
      await store.gc({ cache: true });
      return kept;
    };
    expect(await programs("plain")).toEqual(await programs("random"));
  });

  test("stops at an abort, and keeps nothing", async () => {
    const store = await familyStore("base");
    const abort = new AbortController();
    const compiling = runtimeOf(store).compile("base", { signal: abort.signal });
    abort.abort(new RangeError("enough"));
    await expect(compiling).rejects.toThrow("enough");
    expect((await runtimeOf(store).compile("base")).cached).toBe(false);
  });

  test("leaves to the engine what it cannot compile without weights, and says so", async () => {
    const store = await familyStore();
    const folder = await temporaryFolder();
    const bytes = model({
      ir: 10,
      opsets: { "": 21 },
      graph: graph({
        initializers: [
          tensor("w", "int4", [2, 2], { raw: Uint8Array.of(0x21, 0x43) }),
          tensor("scale", "float32", [1], floats(0.5)),
          tensor("v", "float32", [2], floats(3, 4)),
        ],
        nodes: [
          node("DequantizeLinear", ["w", "scale"], ["d"]),
          node("MatMul", ["x", "d"], ["a"]),
          node("Abs", ["a"], ["b"]),
          node("Mul", ["b", "v"], ["y"]),
        ],
        inputs: [value("x", "float32", [1, 2])],
        outputs: [value("y", "float32", [1, 2])],
      }),
    });
    await writeFile(join(folder, "m.onnx"), bytes);
    await store.add([join(folder, "m.onnx")]);
    const x: Tensor = {
      dtype: "float32",
      shape: [1, 2],
      bytes: new Uint8Array(Float32Array.of(10, -20).buffer),
    };
    await using loaded = await runtimeOf(store).load("m");
    const expected = texts(await loaded.run({ x }));
    const rule = [{ nodes: "Abs", backend: "portable" }];
    for (const partition of [[], rule]) {
      const { model: made } = await runtimeOf(store).compile("m", { partition });
      expect(made.methods[0]?.partitions[0]?.settings).toMatchObject({
        level: "extended",
        whole: expect.stringContaining('int4 weight "w"'),
      });
      await using session = await runtimeOf(store).loadCompiled("m", { partition });
      expect(texts(await session.run({ x }))).toEqual(expected);
    }
    const { model: cut } = await runtimeOf(store).compile("m", { partition: rule });
    expect(cut.methods[0]?.partitions.map((each) => each.settings.whole === undefined)).toEqual([
      false,
      true,
      true,
    ]);
  });

  test("refuses to let travel what JavaScript has no arrays for", async () => {
    const store = await familyStore();
    const folder = await temporaryFolder();
    const bytes = model({
      graph: graph({
        initializers: [tensor("w", "float32", [2], floats(3, 4))],
        nodes: [
          node("Cast", ["x"], ["h"], { to: { int: 16 } }),
          node("Cast", ["h"], ["f"], { to: { int: 1 } }),
          node("Mul", ["f", "w"], ["y"]),
        ],
        inputs: [value("x", "float32", [2])],
        outputs: [value("y", "float32", [2])],
      }),
    });
    await writeFile(join(folder, "m.onnx"), bytes);
    await store.add([join(folder, "m.onnx")]);
    const cut = runtimeOf(store).compile("m", { backends: [castBackend("h")] });
    await expect(cut).rejects.toMatchObject({
      code: "unsupported",
      message: expect.stringMatching(/^Cannot cut method "m" into partitions: .*between partitions/),
    });
  });

  test("refuses rules and backends that are none, and other formats", async () => {
    const store = await familyStore("base");
    const compile = (options: CompileOptions): Promise<unknown> => runtimeOf(store).compile("base", options);
    await expect(compile({ backends: ["tpu"] })).rejects.toMatchObject({ code: "usage" });
    await expect(compile({ backends: ["portable", "portable"] })).rejects.toMatchObject({ code: "usage" });
    await expect(compile({ partition: [{ nodes: "Add", backend: "tpu" }] })).rejects.toMatchObject({
      message: expect.stringContaining("--partition Add=tpu: there is no such backend"),
    });
    await expect(compile({ partition: [{ nodes: "Nothing*", backend: "portable" }] })).rejects.toMatchObject({
      message: expect.stringContaining("it selects no node"),
    });
    await expect(compile({ settings: { onnxruntime: { level: "most" } } })).rejects.toMatchObject({
      code: "usage",
    });
  });

  test("says why a model cannot be cut", async () => {
    const store = await familyStore();
    const folder = await temporaryFolder();
    const bytes = model({
      training: [{ algorithm: graph({}) }],
      graph: graph({
        initializers: [tensor("w", "float32", [2], floats(1, 2))],
        nodes: [node("Add", ["x", "w"], ["a"]), node("Abs", ["a"], ["y"])],
        inputs: [value("x", "float32", [2])],
        outputs: [value("y", "float32", [2])],
      }),
    });
    await writeFile(join(folder, "m.onnx"), bytes);
    await store.add([join(folder, "m.onnx")]);
    await expect(
      runtimeOf(store).compile("m", { partition: [{ nodes: "Abs", backend: "portable" }] }),
    ).rejects.toMatchObject({ code: "unsupported", message: expect.stringContaining("trained") });
    expect(backendsOf((await runtimeOf(store).compile("m")).model)).toEqual([["onnxruntime"]]);
  });
});

describe("Runtime.loadCompiled()", () => {
  test(
    "gives what the whole model gives, bit for bit, in partitions over both backends",
    SAMPLED,
    async () => {
      const store = await familyStore("base", "kjv");
      const partition = [{ nodes: "Softmax", backend: "portable" }];
      const settings = { onnxruntime: { level: "disabled" } };
      const { model: both } = await runtimeOf(store).compile("base", { partition, settings });
      expect(new Set(both.methods[0]?.partitions.map((each) => each.backend))).toEqual(
        new Set(["onnxruntime", "portable"]),
      );
      expect(both.methods[0]?.partitions.length).toBeGreaterThan(10);
      for (const name of THOROUGH ? ["base", "kjv"] : ["kjv"]) {
        const expected = texts(await whole(store, name, { level: "disabled" }));
        expect(texts(await compiled(store, name, { partition, settings }))).toEqual(expected);
        expect(texts(await compiled(store, name, { backends: ["portable"] }))).toEqual(expected);
      }
      // Optimized: one partition is what load() loads; a cut between fused nodes may round otherwise.
      expect(texts(await compiled(store, "kjv", {}))).toEqual(texts(await whole(store, "kjv")));
      const near = await compiled(store, "kjv", { partition });
      const { logits } = await whole(store, "kjv");
      const numbers = (each: Tensor | undefined): Float32Array =>
        new Float32Array((each as { bytes: Uint8Array }).bytes.slice().buffer);
      numbers(near.logits).forEach((number, index) => {
        expect(number).toBeCloseTo(numbers(logits)[index] as number, 3);
      });
    },
  );

  test("runs only what the outputs that are asked for need, and drops what nobody needs any more", async () => {
    const store = await familyStore("base");
    const partition = [{ nodes: "Softmax", backend: "portable" }];
    await using session = await runtimeOf(store).loadCompiled("base", { method: "decoder", partition });
    const all = await session.run(inputs);
    expect(Object.keys(all).sort()).toEqual(session.signature.outputs.map((port) => port.name).sort());
    const some = await session.run(inputs, { outputs: ["present.0.key"] });
    expect(texts(some)).toEqual({ "present.0.key": texts(all)["present.0.key"] });
    await expect(session.run(inputs, { outputs: ["nothing"] })).rejects.toMatchObject({ code: "bad-input" });
    await expect(session.run({})).rejects.toMatchObject({ code: "missing-input", tensor: "input_ids" });
    await expect(session.run({ ...inputs, more: ids(1n) })).rejects.toMatchObject({ code: "bad-input" });
  });

  test("names the partition that failed, stops at an abort, and is gone after release", async () => {
    const store = await familyStore("base");
    const partition = [{ nodes: "Softmax", backend: "portable" }];
    const session = await runtimeOf(store).loadCompiled("base", { method: "decoder", partition });
    // A token that the vocabulary does not have.
    await expect(session.run({ input_ids: ids(9_999n) })).rejects.toMatchObject({
      code: "engine",
      message: expect.stringMatching(/^Cannot run partition 0 \(onnxruntime\) of "decoder": /),
    });
    const abort = new AbortController();
    const running = session.run(inputs, { signal: abort.signal });
    abort.abort(new RangeError("enough"));
    await expect(running).rejects.toThrow("enough");
    expect(Object.keys(await session.run(inputs))).toContain("logits");
    await Promise.all([session.release(), session.release()]);
    await expect(session.run(inputs)).rejects.toMatchObject({ code: "released" });
  });

  test("has the engine say what travels, where the model does not", async () => {
    const store = await familyStore();
    const folder = await temporaryFolder();
    const bytes = model({
      graph: graph({
        initializers: [
          tensor("w", "float32", [2, 2], floats(1, 2, 3, 4)),
          tensor("shape", "int64", [2], ints(1, 2)),
        ],
        nodes: [
          node("Reshape", ["x", "shape"], ["a"]),
          node("MatMul", ["a", "w"], ["b"]),
          node("Shape", ["b"], ["s"]),
          node("Abs", ["b"], ["c"]),
          node("Cast", ["s"], ["f"], { to: { int: 1 } }),
          node("Mul", ["c", "f"], ["z"]),
          node("ReduceMax", ["z"], ["scalar"], { keepdims: { int: 0 } }),
          node("Abs", ["scalar"], ["positive"]),
          node("Mul", ["z", "positive"], ["y"]),
        ],
        inputs: [value("x", "float32", [2])],
        outputs: [value("y", "float32", [1, 2])],
      }),
    });
    await writeFile(join(folder, "m.onnx"), bytes);
    await store.add([join(folder, "m.onnx")]);
    const partition = ["Abs", "Shape"].map((nodes) => ({ nodes, backend: "portable" }));
    const { model: cut } = await runtimeOf(store).compile("m", { partition });
    expect(cut.methods[0]?.partitions.map((each) => each.signature.inputs)).toEqual([
      [{ name: "x", dtype: "float32", shape: [2] }],
      [{ name: "b", dtype: "float32", shape: [1, 2] }],
      [
        { name: "s", dtype: "int64", shape: [2] },
        { name: "c", dtype: "float32", shape: [1, 2] },
      ],
      // A scalar, which is not the same as a tensor of any rank.
      [{ name: "scalar", dtype: "float32", shape: [] }],
      [
        { name: "z", dtype: "float32", shape: [1, 2] },
        { name: "positive", dtype: "float32", shape: [] },
      ],
    ]);
    await using session = await runtimeOf(store).loadCompiled("m", { partition });
    const x: Tensor = {
      dtype: "float32",
      shape: [2],
      bytes: new Uint8Array(Float32Array.of(1, -1).buffer),
    };
    const { y } = await session.run({ x });
    expect([...new Float32Array((y as { bytes: Uint8Array }).bytes.slice().buffer)]).toEqual([8, 16]);
  });
});

describe("Runtime.writeCompiled() and openCompiled()", () => {
  const partition = [{ nodes: "Softmax", backend: "portable" }];

  async function written(options: CompileOptions): Promise<{ path: string; expected: Tensors }> {
    const store = await familyStore("kjv");
    const path = join(await temporaryFolder(), "out");
    await runtimeOf(store).writeCompiled("kjv", path, options);
    const expected = await compiled(store, "kjv", options);
    await rm(store.path, { recursive: true });
    return { path, expected };
  }

  test("make a folder that runs without the store", async () => {
    const { path, expected } = await written({ partition });
    await using folder = await openCompiled(path, { workers: 1 });
    expect(folder.model.model).toBe("kjv");
    await using session = await folder.load({ method: "decoder" });
    expect(texts(await session.run(inputs))).toEqual(texts(expected));
    await expect(folder.load()).rejects.toMatchObject({ code: "not-found" });
  });

  test("make programs that stock ONNX Runtime opens", async () => {
    const { path, expected } = await written({});
    const files = (await readdir(path)).filter((name) => name.endsWith(".onnx"));
    expect(files.sort()).toEqual(["decoder.onnx", "decoder_with_past.onnx"]);
    const session = await ort.InferenceSession.create(join(path, "decoder.onnx"), {
      graphOptimizationLevel: "disabled",
      extra: { session: { disable_prepacking: "1" } },
    });
    const tokens = new ort.Tensor("int64", BigInt64Array.of(1n, 37n, 82n, 72n, 4n, 76n), [1, 6]);
    const { logits } = await session.run({ input_ids: tokens });
    const data = logits?.data as Float32Array;
    const bytes = Buffer.from(data.buffer, data.byteOffset, data.byteLength);
    expect(`[${logits?.dims.join()}] ${bytes.toString("base64")}`).toBe(texts(expected).logits);
    await session.release();
  });

  /** Changes something in the record of a folder. */
  async function edit(path: string, at: string, change: (old: unknown) => unknown): Promise<void> {
    const file = join(path, "compiled.json");
    const record: unknown = JSON.parse(await readFile(file, "utf8"));
    changeJson(record, at, change);
    await writeFile(file, JSON.stringify(record));
  }

  test("refuse what was tampered with, or is not all there", async () => {
    const { path } = await written({});
    const program = join(path, "decoder.onnx");
    const bytes = await readFile(program);
    const odd = Buffer.from(bytes);
    odd[odd.length - 5] = (odd[odd.length - 5] as number) ^ 1;
    await writeFile(program, odd);
    const load = async (verify = false): Promise<unknown> => {
      await using folder = await openCompiled(path, { workers: 1 });
      return await folder.load({ method: "decoder", verify });
    };
    await expect(load()).rejects.toMatchObject({ name: "FormatError", code: "mismatch", path: program });
    await writeFile(program, bytes);
    const before = await readFile(join(path, "compiled.json"));
    await edit(path, "compiled.methods.0.partitions.0.bindings.0.shape", (old) => (old as []).toReversed());
    await expect(load()).rejects.toMatchObject({ name: "WeightMismatchError", code: "mismatch" });
    await writeFile(join(path, "compiled.json"), before);
    await edit(path, "compiled.methods.0.partitions.0.bindings", (old) => (old as []).slice(1));
    await expect(load()).rejects.toMatchObject({ name: "WeightMismatchError", code: "missing-weight" });
    await edit(path, "weights.0.path", () => "../../secret");
    await expect(load()).rejects.toMatchObject({ name: "FormatError", code: "malformed" });
    await writeFile(join(path, "compiled.json"), before);
    // Every case is listed.
    await edit(path, "weights.0.length", () => 4);
    await edit(path, "weights.1.digest", () => `sha256:${"0".repeat(64)}`);
    await edit(path, "weights.2.digest", () => `sha256:${"1".repeat(64)}`);
    await expect(load()).rejects.toMatchObject({
      name: "WeightMismatchError",
      code: "missing-weight",
      path,
      missing: [expect.any(String), expect.any(String)],
      mismatched: expect.arrayContaining([
        expect.objectContaining({ name: expect.stringMatching(/blk.3/) }),
        expect.objectContaining({ name: expect.stringMatching(/blk.4/) }),
      ]),
    });
    await writeFile(join(path, "compiled.json"), before);
    const [weight, second] = (await readdir(join(path, "weights"))).sort() as [string, string];
    for (const name of [weight, second]) {
      const content = await readFile(join(path, "weights", name));
      await rm(join(path, "weights", name));
      content[10] = (content[10] as number) ^ 1;
      await writeFile(join(path, "weights", name), content);
    }
    await expect(load()).resolves.toBeDefined();
    await expect(load(true)).rejects.toMatchObject({
      name: "WeightMismatchError",
      code: "mismatch",
      path,
      mismatched: [{ sides: [{ source: "decoder" }, { source: path }] }, { name: expect.any(String) }],
    });
    await rm(join(path, "weights", weight));
    await writeFile(join(path, "weights", weight), "short");
    await truncate(join(path, "weights", weight), 2);
    await expect(load()).rejects.toMatchObject({ name: "LinkError", code: "size-mismatch" });
  });

  test("refuse what another engine, or another processor, compiled", async () => {
    const { path } = await written({ partition });
    const before = await readFile(join(path, "compiled.json"));
    for (const [field, value, message] of [
      ["version", "1.0.0", /onnxruntime 1\.0\.0 compiled it, and this is onnxruntime 1\.\d+\.\d+/],
      ["target", "plan9-mips", /compiled for plan9-mips, and this is /],
      ["cpu", ["abacus"], /a processor with abacus, which this processor does not have/],
      ["backend", "tpu", /a partition whose backend has no record/],
    ] as const) {
      await edit(path, `compiled.records.0.${field}`, () => value);
      await expect(openCompiled(path)).rejects.toMatchObject({ message: expect.stringMatching(message) });
      await writeFile(join(path, "compiled.json"), before);
    }
    const portable = await written({ backends: ["portable"] });
    await using folder = await openCompiled(portable.path);
    expect(folder.model.records).toMatchObject([{ engine: "any", target: "any", cpu: [] }]);
  });
});
