import { describe, expect, test } from "vitest";
import type { Backend, BackendProgram, Partition } from "../../../src/compile/backends/backend.ts";
import { BlobService } from "../../../src/compile/blobs/blob-service.ts";
import { compileModel } from "../../../src/compile/backends/compile-model.ts";
import type { MethodSource } from "../../../src/compile/backends/cut-method.ts";
import { parsePartitionRule, partitionNodes } from "../../../src/compile/backends/partition.ts";
import { PortableBackend } from "../../../src/compile/backends/portable.ts";
import { SparseBytes } from "../../../src/encodings/protobuf/sparse-bytes.ts";
import { parseOnnx } from "../../../src/formats/onnx/parse.ts";
import { writeSymbolic } from "../../../src/formats/onnx/symbolic.ts";
import { createSha256, sha256 } from "../../../src/node/sha256.ts";
import { constant, floats, graph, model, node, tensor, value } from "../../support/onnx-builder.ts";
import { memoryBlobs } from "../../../src/store/memory-blobs.ts";

/** x → Add w → Abs → Mul c → y, the type of what is between known. */
function methodOf(name: string): MethodSource {
  const bytes = model({
    graph: graph({
      nodes: [
        constant("c", tensor("", "float32", [2], floats(5, 6))),
        node("Add", ["x", "w"], ["a"]),
        node("Abs", ["a"], ["b"]),
        node("Mul", ["b", "c"], ["y"]),
      ],
      initializers: [tensor("w", "float32", [2], floats(1, 2))],
      inputs: [value("x", "float32", ["n"])],
      outputs: [value("y", "float32", ["n"])],
    }),
  });
  const view = new SparseBytes(name, bytes);
  const program = writeSymbolic(view, parseOnnx(view), () => {
    throw new TypeError("nothing is in another file");
  });
  const port = (each: string) => ({ name: each, dtype: "float32", shape: ["n"] }) as const;
  return {
    name,
    source: sha256(bytes),
    key: "key",
    program,
    graph: parseOnnx(new SparseBytes(name, program)),
    signature: { inputs: [port("x")], outputs: [port("y")] },
    weights: ["w", "c"].map((weight) => ({
      name: weight,
      dtype: "float32",
      shape: [2],
      digest: sha256(new TextEncoder().encode(weight)),
    })),
    inferTypes: async (names) => names.map(port),
  };
}

/** A backend that hands on what it is given, or what a test makes of it. */
function backend(id: string, change: (programs: BackendProgram[]) => BackendProgram[] = (same) => same) {
  const calls: (readonly Partition[])[] = [];
  const made: Backend & { calls: typeof calls } = {
    id,
    version: "1",
    calls,
    async compile(partitions) {
      calls.push(partitions);
      const { programs, record } = await new PortableBackend().compile(partitions);
      return { programs: change([...programs]), record };
    },
  };
  return made;
}

const blobs = new BlobService({
  sink: memoryBlobs({ createDigest: createSha256 }),
  createDigest: createSha256,
});
const surroundings = { blobs, digest: sha256 };
const rules = [parsePartitionRule("Abs=other")];

describe("compileModel()", () => {
  test("hands each backend all partitions of all methods at once", async () => {
    const [first, second] = [backend("first"), backend("other")];
    const settings = { backends: [first, second], rules, options: {} };
    const { model: compiled } = await compileModel(
      "m",
      [methodOf("one"), methodOf("two")],
      settings,
      surroundings,
    );
    const given = ({ calls }: typeof first): string[][] =>
      calls.map((call) => call.map(({ method, index }) => `${method} ${index}`));
    expect(given(first)).toEqual([["one 0", "one 2", "two 0", "two 2"]]);
    expect(given(second)).toEqual([["one 1", "two 1"]]);
    expect(first.calls[0]?.map((each) => each.weights.map((weight) => weight.weight))).toEqual([
      ["w"],
      ["c"],
      ["w"],
      ["c"],
    ]);
    expect(compiled.methods.map((method) => method.partitions.map((each) => each.backend))).toEqual([
      ["first", "other", "first"],
      ["first", "other", "first"],
    ]);
    expect(compiled.methods[0]?.partitions.map((each) => each.bindings)).toEqual([
      [expect.objectContaining({ input: "w", weight: "w", digest: methodOf("one").weights[0]?.digest })],
      [],
      [expect.objectContaining({ input: "c", weight: "c", digest: methodOf("one").weights[1]?.digest })],
    ]);
  });

  test.each<[string, (programs: BackendProgram[]) => BackendProgram[], string]>([
    ["leaves one out", (all) => all.slice(1), 'returns no result for partition 0 of "one"'],
    ["answers twice", (all) => [...all, ...all], 'returns two results for partition 0 of "one"'],
    [
      "answers what it was not asked",
      (all) => all.map((each) => ({ ...each, index: 7 })),
      'returns an unknown partition 7 of "one"',
    ],
    [
      "binds a weight that its partition does not have",
      (all) => all.map((each) => ({ ...each, bindings: [{ input: "i", weight: "c", layout: "row-major" }] })),
      'binds weight "c"',
    ],
    [
      "binds an input twice",
      (all) => all.map((each) => ({ ...each, bindings: [...each.bindings, ...each.bindings] })),
      'binds "w" twice',
    ],
  ])("refuses a backend that %s", async (_, change, message) => {
    const settings = { backends: [backend("first", change), backend("other")], rules, options: {} };
    const compiling = compileModel("m", [methodOf("one")], settings, surroundings);
    await expect(compiling).rejects.toMatchObject({
      code: "engine",
      message: expect.stringContaining(message),
    });
  });

  test("refuses to cut into more partitions than anybody has a use for", async () => {
    const names = Array.from({ length: 1002 }, (_, index) => `v${index}`);
    const nodes = names
      .slice(1)
      .map((name, index) => node(index % 2 ? "Abs" : "Neg", [names[index] as string], [name]));
    const bytes = model({
      graph: graph({
        nodes,
        inputs: [value("v0", "float32", [2])],
        outputs: [value("v1001", "float32", [2])],
      }),
    });
    const method = { ...methodOf("one"), program: bytes, graph: parseOnnx(new SparseBytes("m", bytes)) };
    const settings = { backends: [backend("first"), backend("other")], rules, options: {} };
    await expect(compileModel("m", [method], settings, surroundings)).rejects.toMatchObject({
      code: "unsupported",
      message: 'Cannot cut method "one" into partitions: it would have 1001, and the limit is 1000',
    });
  });

  test("refuses to let travel what is no tensor of a known type", async () => {
    const method = { ...methodOf("one"), inferTypes: async () => [] };
    const settings = { backends: [backend("first"), backend("other")], rules, options: {} };
    await expect(compileModel("m", [method], settings, surroundings)).rejects.toMatchObject({
      code: "unsupported",
      message: expect.stringContaining('"a" would pass between partitions'),
    });
  });
});

describe("partitionNodes()", () => {
  const { graph: parsed } = methodOf("one");
  const backends = [backend("first"), backend("other")];
  const runs = (...given: string[]): [string, number][] =>
    partitionNodes("one", parsed, backends, given.map(parsePartitionRule)).map((run) => [
      run.backend.id,
      run.end,
    ]);

  test("makes maximal runs, which Constants do not break", () => {
    expect(runs()).toEqual([["first", 4]]);
    expect(runs("*=other")).toEqual([["other", 4]]);
    expect(runs("Add=other")).toEqual([
      ["other", 2],
      ["first", 4],
    ]);
    expect(runs("Abs=first", "A*=other", "M?l=other")).toEqual([
      ["other", 2],
      ["first", 3],
      ["other", 4],
    ]);
  });

  test("gives nodes to the first backend that takes them", () => {
    const picky: Backend = { ...backend("picky"), takes: (each) => each.opType === "Abs" };
    const found = partitionNodes("one", parsed, [picky, ...backends], []);
    expect(found.map((run) => [run.backend.id, run.end])).toEqual([
      ["first", 2],
      ["picky", 3],
      ["first", 4],
    ]);
    expect(() => partitionNodes("one", parsed, [picky], [])).toThrow("no backend supports Add");
  });
});

describe("parsePartitionRule()", () => {
  test.each([
    ["Softmax=portable", { nodes: "Softmax", backend: "portable" }],
    ["com.microsoft::*=x", { nodes: "com.microsoft::*", backend: "x" }],
    ["/a=b/*=x", { nodes: "/a=b/*", backend: "x" }],
  ])("reads %s", (text, rule) => {
    expect(parsePartitionRule(text)).toEqual(rule);
  });

  test.each(["", "=", "a=", "=b", "a"])("refuses %j", (text) => {
    expect(() => parsePartitionRule(text)).toThrow(expect.objectContaining({ code: "usage" }));
  });
});
