import { readFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import fc from "fast-check";
import { InferenceSession, Tensor } from "onnxruntime-node";
import { describe, expect, test } from "vitest";
import { SparseBytes } from "../../../src/encodings/protobuf/sparse-bytes.ts";
import {
  crossingValues,
  declaredTypes,
  planCut,
  type SegmentPlan,
  whyNotCut,
  writeProbe,
  writeSegment,
} from "../../../src/formats/onnx/cut.ts";
import type { ValueType } from "../../../src/formats/onnx/encode.ts";
import type { OnnxModel } from "../../../src/formats/onnx/graph.ts";
import { parseOnnx } from "../../../src/formats/onnx/parse.ts";
import {
  bindSymbolic,
  symbolicTensors,
  symbolicWeights,
  writeSymbolic,
} from "../../../src/formats/onnx/symbolic.ts";
import { writeWeightless } from "../../../src/formats/onnx/weightless.ts";
import { charlm } from "../../support/charlm.ts";
import {
  constant,
  floats,
  func,
  graph,
  ints,
  type Message,
  model,
  node,
  sparseTensor,
  tensor,
  value,
} from "../../support/onnx-builder.ts";
import { SAMPLED, THOROUGH, some } from "../../support/speed.ts";

const FIXTURES = fileURLToPath(new URL("../../../fixtures/onnx/", import.meta.url));

type Feeds = Readonly<Record<string, Tensor>>;

interface Whole {
  readonly bytes: Uint8Array;
  readonly view: SparseBytes;
  readonly graph: OnnxModel;
}

function whole(bytes: Uint8Array): Whole {
  const view = new SparseBytes("m.onnx", bytes);
  return { bytes, view, graph: parseOnnx(view) };
}

/** A session that changes nothing: what it gives is what the nodes give. */
function open(bytes: Uint8Array): Promise<InferenceSession> {
  return InferenceSession.create(bytes, {
    graphOptimizationLevel: "disabled",
    logSeverityLevel: 4,
    intraOpNumThreads: 1,
    extra: { session: { disable_prepacking: "1" } },
  });
}

async function run(bytes: Uint8Array, feeds: Feeds): Promise<Record<string, Tensor>> {
  const session = await open(bytes);
  try {
    return { ...((await session.run(feeds)) as Record<string, Tensor>) };
  } finally {
    await session.release();
  }
}

function texts(values: Readonly<Record<string, Tensor>>): Record<string, string> {
  return Object.fromEntries(
    Object.entries(values).map(([name, { type, dims, data }]) => {
      const { buffer, byteOffset, byteLength } = data as Float32Array;
      return [
        name,
        `${type} [${dims.join()}] ${Buffer.from(buffer, byteOffset, byteLength).toString("hex")}`,
      ];
    }),
  );
}

/** Types of what crosses: as declared, else as stock ONNX Runtime infers them. */
async function typesOf(
  { view, graph, bytes }: Whole,
  plans: readonly SegmentPlan[],
): Promise<Map<string, ValueType>> {
  const types = declaredTypes(graph);
  const unknown = crossingValues(graph, plans).filter((name) => types.get(name)?.dtype === undefined);
  if (unknown.length === 0) return types;
  const session = await open(writeProbe(view, graph, unknown));
  for (const each of session.outputMetadata) {
    if (each.isTensor && unknown.includes(each.name))
      types.set(each.name, { name: each.name, dtype: each.type, shape: undefined });
  }
  await session.release();
  expect(bytes.byteLength).toBe(view.size);
  return types;
}

/** Cuts a model and runs its segments one after the other, each in a session of its own. */
async function runCut(
  whole: Whole,
  ends: readonly number[],
  feeds: Feeds,
): Promise<{ outputs: Record<string, Tensor>; plans: SegmentPlan[] }> {
  const plans = planCut(whole.graph, ends);
  const types = await typesOf(whole, plans);
  const values: Record<string, Tensor> = { ...feeds };
  for (const plan of plans) {
    const bytes = writeSegment(whole.view, whole.graph, plan, (name) => types.get(name) as ValueType);
    const fed = Object.fromEntries(plan.inputs.map((name) => [name, values[name] as Tensor]));
    const given = await run(bytes, fed);
    expect(Object.keys(given).sort()).toEqual([...plan.outputs].sort());
    Object.assign(values, given);
  }
  const outputs = whole.graph.graph.outputs.map(({ name }) => [name, values[name] as Tensor]);
  return { outputs: Object.fromEntries(outputs), plans };
}

/** Cuts in two at every place, and everywhere at once. */
async function checkEveryCut(bytes: Uint8Array, feeds: Feeds): Promise<void> {
  const model = whole(bytes);
  expect(whyNotCut(model.graph)).toBeUndefined();
  const count = model.graph.graph.nodes.length;
  const expected = texts(await run(bytes, feeds));
  const everywhere = Array.from({ length: count }, (_, index) => index + 1);
  for (const ends of [...everywhere.map((end) => (end === count ? [count] : [end, count])), everywhere]) {
    expect(texts((await runCut(model, ends, feeds)).outputs), `cut at ${ends.join()}`).toEqual(expected);
  }
}

const x = value("x", "float32", [2]);
const y = value("y", "float32", [2]);
const feeds = { x: new Tensor("float32", [10, 20], [2]) };
const w = (name: string, ...values: number[]): Message =>
  tensor(name, "float32", [values.length], floats(...values));

describe("planCut() and writeSegment()", () => {
  test("cut a decoder anywhere, and each node on its own, without a bit of difference", SAMPLED, async () => {
    const model = whole(await readFile(join(await charlm(), "base", "decoder.onnx")));
    const count = model.graph.graph.nodes.length;
    const ids = new Tensor("int64", BigInt64Array.of(1n, 37n, 82n, 72n), [1, 4]);
    const expected = texts(await run(model.bytes, { input_ids: ids }));
    const every = Array.from({ length: count }, (_, index) => index + 1);
    const inTwo = every.filter((end) => end % 61 === 0).map((end) => [end, count]);
    for (const ends of [[100, 101, 250, count], ...(THOROUGH ? [...inTwo, every] : inTwo.slice(0, 1))]) {
      const { outputs, plans } = await runCut(model, ends, { input_ids: ids });
      expect(texts(outputs), `cut at ${ends.join()}`).toEqual(expected);
      // Weights stay where they are used: what travels is what nodes compute.
      const weights = new Set(model.graph.tensors.map((each) => each.local));
      expect(crossingValues(model.graph, plans).filter((name) => weights.has(name))).toEqual([]);
    }
  });

  test("cut control flow whose bodies take values and weights from around them", async () => {
    const rows = new Tensor("float32", [1, 2, 3, 4, 5, 6], [3, 2]);
    const bytes = readFileSync(join(FIXTURES, "control-flow.onnx"));
    // Stock ONNX Runtime reads IR version 13 at most; nothing here is newer.
    expect([...bytes.subarray(0, 2)]).toEqual([8, 14]);
    bytes[1] = 13;
    for (const on of [true, false]) {
      await checkEveryCut(bytes, {
        x: new Tensor("float32", [10, 20], [2]),
        condition: new Tensor("bool", [on], [1]),
        rows,
      });
    }
  });

  test("give each segment its own copy of a Constant", async () => {
    const bytes = model({
      graph: graph({
        nodes: [
          constant("c", w("", 1, 2)),
          node("Add", ["x", "c"], ["a"]),
          node("Mul", ["a", "c"], ["b"]),
          node("Sub", ["b", "c"], ["y"]),
        ],
        inputs: [x],
        outputs: [y],
      }),
    });
    await checkEveryCut(bytes, feeds);
    const { graph: parsed } = whole(bytes);
    expect(planCut(parsed, [2, 3, 4])).toEqual([
      { run: 0, nodes: [0, 1], initializers: [], inputs: ["x"], outputs: ["a"] },
      { run: 1, nodes: [0, 2], initializers: [], inputs: ["a"], outputs: ["b"] },
      { run: 2, nodes: [0, 3], initializers: [], inputs: ["b"], outputs: ["y"] },
    ]);
  });

  test("keep outputs that are constants, values of the middle, or inputs as they came", async () => {
    const bytes = model({
      graph: graph({
        nodes: [
          constant("c", w("", 1, 2)),
          node("Add", ["x", "c"], ["a"]),
          node("Mul", ["a", "w"], ["y"]),
          node("Neg", ["unused"], ["nothing"]),
        ],
        initializers: [w("w", 3, 4)],
        inputs: [x, value("unused", "float32", [2])],
        outputs: [y, value("a", "float32", [2]), value("c", "float32", [2])],
      }),
    });
    await checkEveryCut(bytes, { ...feeds, unused: new Tensor("float32", [0, 0], [2]) });
  });

  test("leave out segments that nothing needs", () => {
    const { graph: parsed } = whole(
      model({
        graph: graph({
          nodes: [node("Neg", ["x"], ["dead"]), node("Abs", ["dead"], ["deader"]), node("Abs", ["x"], ["y"])],
          inputs: [x],
          outputs: [y],
        }),
      }),
    );
    expect(planCut(parsed, [1, 2, 3]).map(({ run, nodes }) => [run, nodes])).toEqual([[2, [2]]]);
  });

  test("carry old files, whose initializers are inputs too", async () => {
    const bytes = model({
      ir: 3,
      opsets: { "": 9 },
      graph: graph({
        nodes: [node("Add", ["x", "w"], ["a"]), node("Mul", ["a", "v"], ["y"])],
        initializers: [w("w", 1, 2), w("v", 3, 4)],
        inputs: [x, value("w", "float32", [2]), value("v", "float32", [2])],
        outputs: [y],
      }),
    });
    await checkEveryCut(bytes, feeds);
  });

  test("carry functions that hold no weights", async () => {
    const double = func({
      domain: "d",
      name: "Double",
      inputs: ["i"],
      outputs: ["o"],
      nodes: [node("Add", ["i", "i"], ["o"])],
    });
    const bytes = model({
      opsets: { "": 17, d: 1 },
      functions: [double],
      graph: graph({
        nodes: [node("d::Double", ["x"], ["a"]), node("d::Double", ["a"], ["y"])],
        inputs: [x],
        outputs: [y],
      }),
    });
    await checkEveryCut(bytes, feeds);
  });

  test("cut random chains of nodes, wherever they are cut", SAMPLED, async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(fc.constantFrom("Add", "Mul", "Sub"), fc.nat(99), fc.nat(99)), {
          minLength: 2,
          maxLength: 12,
        }),
        fc.array(fc.integer({ min: 1, max: 11 }), { maxLength: 5 }),
        async (operators, places) => {
          const names = ["x", "w", "c"];
          const nodes = [constant("c", w("", 5, 7))];
          operators.forEach(([operator, a, b], index) => {
            const pick = (at: number): string => names[at % names.length] as string;
            nodes.push(node(operator, [pick(a), pick(b)], [`v${index}`]));
            names.push(`v${index}`);
          });
          nodes.push(node("Add", [names.at(-1) as string, names.at(-2) as string], ["y"]));
          const bytes = model({
            graph: graph({ nodes, initializers: [w("w", 2, -1)], inputs: [x], outputs: [y] }),
          });
          const ends = [...new Set([...places.filter((end) => end < nodes.length), nodes.length])];
          const { outputs } = await runCut(
            whole(bytes),
            ends.sort((a, b) => a - b),
            feeds,
          );
          expect(texts(outputs)).toEqual(texts(await run(bytes, feeds)));
        },
      ),
      { numRuns: some(25) },
    );
  });
});

describe("whyNotCut()", () => {
  const parts = {
    inputs: [x],
    outputs: [y],
  };

  test("says what a cut would get wrong", () => {
    const of = (bytes: Uint8Array): string | undefined => whyNotCut(whole(bytes).graph);
    expect(of(model({ graph: graph({ ...parts, nodes: [node("Abs", ["x"], ["y"])] }) }))).toBeUndefined();
    const sparse = sparseTensor(w("s", 1), tensor("at", "int64", [1], ints(0)), [2]);
    expect(
      of(model({ graph: graph({ ...parts, sparse: [sparse], nodes: [node("Add", ["x", "s"], ["y"])] }) })),
    ).toMatch(/"s" is sparse/);
    expect(
      of(
        model({
          training: [{ algorithm: graph({}) }],
          graph: graph({ ...parts, nodes: [node("Abs", ["x"], ["y"])] }),
        }),
      ),
    ).toMatch(/trained/);
    expect(
      of(
        model({
          graph: graph({ ...parts, nodes: [node("Abs", ["a"], ["y"]), node("Abs", ["x"], ["a"])] }),
        }),
      ),
    ).toMatch(/reads "a" before it is made/);
    const body = graph({
      nodes: [node("Abs", ["a"], ["o"])],
      outputs: [value("o", "float32", [2])],
    });
    const late = node("If", ["q"], ["y"], { then_branch: { graph: body }, else_branch: { graph: body } });
    expect(
      of(
        model({
          graph: graph({
            ...parts,
            inputs: [x, value("q", "bool", [])],
            nodes: [late, node("Abs", ["x"], ["a"])],
          }),
        }),
      ),
    ).toMatch(/an? If reads "a" before it is made/);
    expect(
      of(
        model({
          graph: graph({ ...parts, nodes: [node("Abs", ["x"], ["y"]), node("Neg", ["x"], ["y"])] }),
        }),
      ),
    ).toMatch(/"y" is made twice/);
    const external = tensor("", "float32", [2], { external: { location: "weight:d::F/c" } });
    const weighty = func({
      domain: "d",
      name: "F",
      inputs: ["i"],
      outputs: ["o"],
      nodes: [constant("c", external), node("Add", ["i", "c"], ["o"])],
    });
    expect(
      of(
        model({
          functions: [weighty],
          graph: graph({ ...parts, nodes: [node("d::F", ["x"], ["y"])] }),
        }),
      ),
    ).toMatch(/weight "d::F\/c" belongs to a function/);
  });
});

describe("writeSymbolic()", () => {
  // "k" is read as a shape by one node and as numbers by another: in the whole model it is a constant.
  const bytes = model({
    graph: graph({
      nodes: [
        node("Reshape", ["x", "k"], ["a"]),
        node("Add", ["a", "w"], ["b"]),
        node("Cast", ["k"], ["f"], { to: { int: 1 } }),
        node("Mul", ["b", "f"], ["y"]),
      ],
      initializers: [tensor("k", "int64", [2], ints(1, 2)), tensor("w", "float32", [1, 2], floats(3, 4))],
      inputs: [x],
      outputs: [value("y", "float32", [1, 2])],
    }),
  });
  const { view, graph: parsed } = whole(bytes);
  const none = (name: string): never => {
    throw new TypeError(`"${name}" is not bound`);
  };

  test("says once and for all what is a weight, whatever a segment uses it for", () => {
    const symbolic = whole(writeSymbolic(view, parsed, none));
    expect(symbolicWeights(symbolic.graph).map((weight) => weight.name)).toEqual(["w"]);
    const plans = planCut(symbolic.graph, [2, 4]);
    const last = writeSegment(symbolic.view, symbolic.graph, plans[1] as SegmentPlan, (name) => {
      return { name, dtype: "float32", shape: [1, 2] };
    });
    const segment = whole(last);
    expect(symbolicWeights(segment.graph)).toEqual([]);
    const lifted = writeWeightless(segment.view, segment.graph, none, symbolicTensors(segment.graph));
    expect([...lifted.inputs]).toEqual([]);
  });

  test("is the same for any values, and binds to the model it came from", async () => {
    const other = whole(Uint8Array.from(bytes));
    const at = Buffer.from(other.bytes).indexOf(Buffer.from(Float32Array.of(3, 4).buffer));
    new Float32Array(other.bytes.buffer.slice(at, at + 8)).fill(9);
    other.bytes.set(new Uint8Array(Float32Array.of(-1, 1e9).buffer), at);
    const symbolic = writeSymbolic(view, parsed, none);
    expect(Buffer.compare(writeSymbolic(other.view, other.graph, none), symbolic)).toBe(0);
    const back = bindSymbolic(
      new SparseBytes("s", symbolic),
      parseOnnx(new SparseBytes("s", symbolic)),
      () => {
        return { kind: "inline", bytes: new Uint8Array(Float32Array.of(3, 4).buffer) };
      },
    );
    expect(texts(await run(back, feeds))).toEqual(texts(await run(bytes, feeds)));
  });
});
