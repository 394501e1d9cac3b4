import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { InferenceSession, Tensor } from "onnxruntime-node";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { memorySource } from "../../../src/io/byte-source.ts";
import { VarintDecoder } from "../../../src/io/varint-array.ts";
import { SparseBytes } from "../../../src/encodings/protobuf/sparse-bytes.ts";
import type { TensorBinding } from "../../../src/formats/onnx/encode.ts";
import type { OnnxModel, OnnxTensor } from "../../../src/formats/onnx/graph.ts";
import { parseOnnx } from "../../../src/formats/onnx/parse.ts";
import { readOnnx } from "../../../src/formats/onnx/read.ts";
import { boundTensors, writeThin } from "../../../src/formats/onnx/thin.ts";
import {
  bindTemplate,
  cutTemplate,
  whyNotWeightless,
  writeWeightless,
} from "../../../src/formats/onnx/weightless.ts";
import type { DType } from "../../../src/tensor/dtype.ts";
import { CHARLM_MODELS, charlm } from "../../support/charlm.ts";
import {
  constant,
  DATA_TYPE,
  floats,
  func,
  graph,
  ints,
  type Message,
  model,
  node,
  type OnnxDType,
  sparseTensor,
  tensor,
  value,
} from "../../support/onnx-builder.ts";
import { SAMPLED, THOROUGH } from "../../support/speed.ts";

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "tare-weightless-"));
});
afterAll(() => rm(folder, { recursive: true }));

/** A model taken apart: the program with gaps, and its weights in a file of their own. */
interface Apart {
  readonly view: SparseBytes;
  readonly graph: OnnxModel;
  readonly weights: readonly OnnxTensor[];
  readonly bind: (name: string) => TensorBinding;
}

let files = 0;

/** Takes a model apart as the store does, and writes its weights, decoded, into one file of {@link folder}. */
async function takeApart(
  bytes: Uint8Array,
  external: Readonly<Record<string, Uint8Array>> = {},
): Promise<Apart> {
  const draft = await readOnnx([{ path: "m.onnx", source: memorySource(bytes, "m.onnx") }], {
    async open(path) {
      return external[path] && memorySource(external[path], path);
    },
  });
  const location = `weights ${files++}.bin`;
  const bindings = new Map<string, TensorBinding>();
  const gaps: { offset: number; length: number }[] = [];
  const content: Uint8Array[] = [];
  let offset = 0;
  const { weights = [], constants = [] } = draft.methods[0] ?? {};
  for (const { name, at } of weights) {
    let data = (await draft.files[at.file]?.source.read(at.offset, at.length)) as Uint8Array;
    if (at.varint) data = new VarintDecoder(at.varint, "m.onnx", at.offset).decode(data);
    if (at.file === 0) gaps.push({ offset: at.offset, length: at.length });
    bindings.set(name, { kind: "file", location, offset, length: data.length });
    content.push(data);
    offset += data.length;
  }
  for (const { name, at } of constants) {
    const data = (await draft.files[at.file]?.source.read(at.offset, at.length)) as Uint8Array;
    bindings.set(name, { kind: "inline", bytes: data });
  }
  await writeFile(join(folder, location), Buffer.concat(content));

  gaps.sort((a, b) => a.offset - b.offset);
  const rest: Uint8Array[] = [];
  let at = 0;
  for (const gap of gaps) {
    rest.push(bytes.subarray(at, gap.offset));
    at = gap.offset + gap.length;
  }
  rest.push(bytes.subarray(at));
  const view = new SparseBytes("m.onnx", Buffer.concat(rest), gaps);
  const parsed = parseOnnx(view);
  return {
    view,
    graph: parsed,
    weights: boundTensors(parsed).weights,
    bind(name) {
      const binding = bindings.get(name);
      if (!binding) throw new TypeError(`"${name}" is not bound`);
      return binding;
    },
  };
}

type Level = "disabled" | "extended";

/** A session as tare opens them: nothing packed, data in {@link folder}. */
function open(bytes: Uint8Array, level: Level, optimizedModelFilePath?: string): Promise<InferenceSession> {
  return InferenceSession.create(bytes, {
    graphOptimizationLevel: level,
    logSeverityLevel: 3,
    intraOpNumThreads: 1,
    ...(optimizedModelFilePath !== undefined && { optimizedModelFilePath }),
    extra: { session: { disable_prepacking: "1", model_external_initializers_file_folder_path: folder } },
  });
}

type Feeds = Readonly<Record<string, Tensor>>;

/** Runs a model and gives its outputs, bit for bit. */
async function run(session: InferenceSession, feeds: Feeds): Promise<Record<string, unknown>> {
  const result = await session.run(feeds);
  return Object.fromEntries(
    Object.entries(result).map(([name, { type, dims, data }]) => {
      const bytes = Buffer.from(
        (data as Float32Array).buffer,
        (data as Float32Array).byteOffset,
        (data as Float32Array).byteLength,
      );
      return [name, `${type} [${dims.join()}] ${bytes.toString("base64")}`];
    }),
  );
}

/** Compiles a weightless program. */
async function compile(bytes: Uint8Array): Promise<Uint8Array> {
  const path = join(folder, `optimized ${files++}.onnx`);
  try {
    const session = await open(bytes, "extended", path);
    await session.release();
  } catch (error) {
    // onnxruntime-node cannot list inputs of some dtypes; by then the engine has written the program.
    if (!/Unsupported data type/.test(String(error))) throw error;
  }
  return await readFile(path);
}

/** Binds what the compiler made to the weights. */
function bindCompiled(compiled: Uint8Array, inputs: ReadonlyMap<string, string>, apart: Apart): Uint8Array {
  const tensors = new Map(apart.weights.map((weight) => [weight.name, weight]));
  const weights = [...inputs].map(([input, name]) => {
    const { dtype, shape } = tensors.get(name) as OnnxTensor;
    return { input, dtype: dtype as DType, shape, binding: apart.bind(name) };
  });
  return bindTemplate(cutTemplate(compiled, new Set(inputs.keys())), weights);
}

/** Outputs of the model as it is, in stock ONNX Runtime. */
async function stock(bytes: Uint8Array, feeds: Feeds): Promise<Record<string, unknown>> {
  return run(await open(bytes, "extended"), feeds);
}

/** Checks that the thin model gives what the model gives, at every level. */
async function checkThin(
  bytes: Uint8Array,
  feeds: Feeds,
  external?: Record<string, Uint8Array>,
): Promise<Apart> {
  const apart = await takeApart(bytes, external);
  const thin = writeThin(apart.view, apart.graph, apart.bind);
  // What was bound to files is found again where it was.
  const bound = parseOnnx(new SparseBytes("thin", thin));
  const places = new Map(bound.tensors.map((each) => [each.name, each.data]));
  for (const { name } of apart.weights) {
    const { kind: _, ...place } = apart.bind(name) as Extract<TensorBinding, { kind: "file" }>;
    expect(places.get(name)).toEqual({ kind: "external", ...place });
  }
  const expected = await stock(bytes, feeds);
  expect(await run(await open(thin, "extended"), feeds)).toEqual(expected);
  expect(await run(await open(thin, "disabled"), feeds)).toEqual(
    await run(await open(bytes, "disabled"), feeds),
  );
  return apart;
}

/** Checks that both the thin model and the weightless program, compiled and bound, give what the model gives. */
async function check(
  bytes: Uint8Array,
  feeds: Feeds,
  external?: Record<string, Uint8Array>,
): Promise<string[]> {
  const apart = await checkThin(bytes, feeds, external);
  expect(whyNotWeightless(apart.graph)).toBeUndefined();
  const { bytes: weightless, inputs } = writeWeightless(apart.view, apart.graph, apart.bind);
  expect([...inputs.values()].sort()).toEqual(apart.weights.map((weight) => weight.name).sort());
  expect(boundTensors(parseOnnx(new SparseBytes("weightless", weightless)))).toEqual({
    weights: [],
    constants: [],
  });
  const compiled = await compile(weightless);
  const bound = bindCompiled(compiled, inputs, apart);
  const session = await open(bound, "disabled");
  const original = await open(bytes, "disabled");
  expect(session.inputNames).toEqual(original.inputNames.filter((name) => !inputs.has(name)));
  expect(session.outputNames).toEqual(original.outputNames);
  expect(await run(session, feeds)).toEqual(await stock(bytes, feeds));
  return [...inputs.keys()];
}

const x = value("x", "float32", [2]);
const y = value("y", "float32", [2]);
const feeds = { x: new Tensor("float32", [10, 20], [2]) };
const flag = (on: boolean): Tensor => new Tensor("bool", [on], []);
const q = value("q", "bool", []);
const w = (name: string, ...values: number[]): Message =>
  tensor(name, "float32", [values.length], floats(...values));

describe("the charlm family", () => {
  test(
    "runs on one compiled program for each graph, bit for bit as stock ONNX Runtime",
    SAMPLED,
    async () => {
      const home = await charlm();
      const prompt = [1, 37, 82, 72, 4, 76, 73, 4, 87, 69, 77, 72];
      const ids = new Tensor("int64", BigInt64Array.from(prompt, BigInt), [1, prompt.length]);
      let decoder: { weightless: Uint8Array; compiled: Uint8Array } | undefined;
      let withPast: typeof decoder;
      for (const name of THOROUGH ? CHARLM_MODELS : ["base", "kjv"]) {
        const graphOf = async (graphName: string, known: typeof decoder, fed: Feeds) => {
          const bytes = await readFile(join(home, name, `${graphName}.onnx`));
          const apart = await takeApart(bytes);
          expect(whyNotWeightless(apart.graph)).toBeUndefined();
          const { bytes: weightless, inputs } = writeWeightless(apart.view, apart.graph, apart.bind);
          if (known) expect(Buffer.compare(known.weightless, weightless)).toBe(0);
          const compiled = known?.compiled ?? (await compile(weightless));
          expect(compiled.length).toBeLessThan(200_000);
          const original = await open(bytes, "extended");
          const expected = await run(original, fed);
          expect(await run(await open(bindCompiled(compiled, inputs, apart), "disabled"), fed)).toEqual(
            expected,
          );
          const thin = writeThin(apart.view, apart.graph, apart.bind);
          expect(await run(await open(thin, "extended"), fed)).toEqual(expected);
          return { weightless, compiled, outputs: await original.run(fed) };
        };
        const first = await graphOf("decoder", decoder, { input_ids: ids });
        decoder = first;
        const past = Object.entries(first.outputs)
          .filter(([key]) => key.startsWith("present."))
          .map(([key, each]) => [key.replace("present", "past"), each] as const);
        expect(past.length).toBe(10);
        const next = new Tensor("int64", BigInt64Array.of(4n), [1, 1]);
        withPast = await graphOf("decoder_with_past", withPast, {
          input_ids: next,
          ...Object.fromEntries(past),
        });
      }
    },
  );

  test("gives one compiled program, whichever model it was made of", async () => {
    const home = await charlm();
    const of = async (name: string): Promise<Buffer> => {
      const apart = await takeApart(await readFile(join(home, name, "decoder.onnx")));
      return Buffer.from(await compile(writeWeightless(apart.view, apart.graph, apart.bind).bytes));
    };
    expect(Buffer.compare(await of("base"), await of("licence"))).toBe(0);
  });
});

describe("writeWeightless(), writeThin() and binding them again", () => {
  test("lifts initializers, and leaves scalars and shapes", async () => {
    const bytes = model({
      graph: graph({
        initializers: [
          w("w", 1, 2),
          tensor("m", "float32", [2, 2], floats(1, 2, 3, 4)),
          w("one", 3),
          tensor("shape", "int64", [2], ints(1, 2)),
          tensor("unused", "float32", [2, 2], floats(1, 2, 3, 4)),
        ],
        nodes: [
          node("Add", ["x", "w"], ["a"]),
          node("Mul", ["a", "one"], ["b"]),
          node("Reshape", ["b", "shape"], ["c"]),
          node("MatMul", ["c", "m"], ["y"]),
        ],
        inputs: [x],
        outputs: [value("y", "float32", [1, 2])],
      }),
    });
    expect(await check(bytes, feeds)).toEqual(["w", "m", "unused"]);
  });

  test("lifts Constant nodes", async () => {
    const bytes = model({
      graph: graph({
        nodes: [
          constant("c", w("inside", 1, 2)),
          node("Constant", [], ["f"], { value_floats: { floats: [5, 6] } }),
          node("Add", ["x", "c"], ["a"]),
          node("Mul", ["a", "f"], ["y"]),
        ],
        inputs: [x],
        outputs: [y],
      }),
    });
    expect(await check(bytes, feeds)).toEqual(["c"]);
  });

  test("lifts weights of If branches, with equal names in both", async () => {
    const branch = (first: number, operator: string): Message =>
      graph({
        initializers: [w("w", first, first + 1)],
        nodes: [
          constant("c", w("", first + 2, first + 3)),
          node(operator, ["x", "w"], ["t"]),
          node("Add", ["t", "c"], ["o"]),
        ],
        outputs: [value("o", "float32", [2])],
      });
    const bytes = model({
      graph: graph({
        initializers: [w("outer", 7, 8)],
        nodes: [
          node("If", ["q"], ["a"], {
            then_branch: { graph: branch(1, "Add") },
            else_branch: { graph: branch(100, "Mul") },
          }),
          node("Mul", ["a", "outer"], ["y"]),
        ],
        inputs: [x, q],
        outputs: [y],
      }),
    });
    for (const on of [true, false]) {
      const inputs = await check(bytes, { ...feeds, q: flag(on) });
      expect(inputs.length).toBe(5);
      expect(inputs).toContain("outer");
    }
  });

  test("lifts weights that are outputs of a branch", async () => {
    const constantBranch = graph({
      nodes: [constant("o", w("", 1, 2))],
      outputs: [value("o", "float32", [2])],
    });
    const initializerBranch = graph({
      initializers: [w("p", 3, 4)],
      outputs: [value("p", "float32", [2])],
    });
    for (const on of [true, false]) {
      const bytes = model({
        graph: graph({
          nodes: [
            node("If", ["q"], ["a"], {
              then_branch: { graph: constantBranch },
              else_branch: { graph: initializerBranch },
            }),
            node("Add", ["x", "a"], ["y"]),
          ],
          inputs: [x, q],
          outputs: [y],
        }),
      });
      expect((await check(bytes, { ...feeds, q: flag(on) })).length).toBe(2);
    }
  });

  test("lifts weights that deeper graphs use, and those of deeper graphs", async () => {
    const leaf = (name: string, first: number): Message =>
      graph({
        initializers: [w(name, first, first)],
        nodes: [node("Add", ["shared", name], ["s"]), node("Mul", ["s", "middle"], ["o"])],
        outputs: [value("o", "float32", [2])],
      });
    const middle = graph({
      initializers: [w("middle", 3, 5)],
      nodes: [
        node("If", ["r"], ["p"], {
          then_branch: { graph: leaf("l", 1) },
          else_branch: { graph: leaf("l", 2) },
        }),
        node("Add", ["p", "x"], ["o"]),
      ],
      outputs: [value("o", "float32", [2])],
    });
    const other = graph({
      nodes: [node("Identity", ["shared"], ["o"])],
      outputs: [value("o", "float32", [2])],
    });
    const bytes = model({
      graph: graph({
        initializers: [w("shared", 11, 13)],
        nodes: [
          node("If", ["q"], ["a"], { then_branch: { graph: middle }, else_branch: { graph: other } }),
          node("Add", ["a", "shared"], ["y"]),
        ],
        inputs: [x, q, value("r", "bool", [])],
        outputs: [y],
      }),
    });
    for (const on of [true, false]) {
      for (const r of [true, false]) await check(bytes, { ...feeds, q: flag(on), r: flag(r) });
    }
  });

  test("lifts weights of Loop and Scan bodies", async () => {
    const loop = graph({
      initializers: [w("step", 1, 2)],
      nodes: [
        node("Identity", ["go"], ["on"]),
        node("Add", ["state", "step"], ["t"]),
        node("Mul", ["t", "outer"], ["next"]),
      ],
      inputs: [value("i", "int64", []), value("go", "bool", []), value("state", "float32", [2])],
      outputs: [value("on", "bool", []), value("next", "float32", [2])],
    });
    const scan = graph({
      initializers: [w("weight", 5, 7)],
      nodes: [
        node("Add", ["carry", "item"], ["sum"]),
        constant("c", w("", 2, 3)),
        node("Mul", ["sum", "weight"], ["m"]),
        node("Add", ["m", "c"], ["row"]),
      ],
      inputs: [value("carry", "float32", [2]), value("item", "float32", [2])],
      outputs: [value("sum", "float32", [2]), value("row", "float32", [2])],
    });
    const bytes = model({
      graph: graph({
        initializers: [
          w("outer", 2, 3),
          tensor("trips", "int64", [], ints(3)),
          tensor("rows", "float32", [3, 2], floats(1, 2, 3, 4, 5, 6)),
        ],
        nodes: [
          node("Loop", ["trips", "", "x"], ["b"], { body: { graph: loop } }),
          node("Scan", ["b", "rows"], ["c", "d"], { body: { graph: scan }, num_scan_inputs: { int: 1 } }),
          node("Add", ["c", "outer"], ["y"]),
        ],
        inputs: [x],
        outputs: [y, value("d", "float32", [3, 2])],
      }),
    });
    // The body's "c" is another than the main graph's.
    expect((await check(bytes, feeds)).sort()).toEqual(["outer", "rows", "step", "tare.weight.1", "weight"]);
  });

  test("lifts a weight that is an output of the model", async () => {
    const bytes = model({
      graph: graph({
        initializers: [w("w", 1, 2)],
        nodes: [node("Add", ["x", "w"], ["y"]), constant("c", w("", 3, 4))],
        inputs: [x],
        outputs: [y, value("w", "float32", [2]), value("c", "float32", [2])],
      }),
    });
    expect(await check(bytes, feeds)).toEqual([
      expect.stringMatching(/^tare/),
      expect.stringMatching(/^tare/),
    ]);
  });

  test("lifts initializers that are inputs too, as IR 3 wants them", async () => {
    for (const ir of [3, 8]) {
      const bytes = model({
        ir,
        opsets: { "": 9 },
        graph: graph({
          initializers: [w("w", 1, 2), w("one", 3)],
          nodes: [node("Add", ["x", "w"], ["a"]), node("Mul", ["a", "one"], ["y"])],
          inputs: [value("w", "float32", [2]), x, value("one", "float32", [1])],
          outputs: [y],
        }),
      });
      expect(await check(bytes, feeds)).toEqual(["w"]);
    }
  });

  test("lifts an initializer that is an input and an output too", async () => {
    for (const ir of [3, 8]) {
      const bytes = model({
        ir,
        opsets: { "": 9 },
        graph: graph({
          initializers: [w("w", 1, 2)],
          nodes: [node("Add", ["x", "w"], ["y"])],
          inputs: [x, value("w", "float32", [2])],
          outputs: [y, value("w", "float32", [2])],
        }),
      });
      expect((await check(bytes, feeds)).length).toBe(1);
    }
  });

  test("finds a name of its own where its names are taken", async () => {
    const bytes = model({
      graph: graph({
        initializers: [w("w", 1, 2), w("tare.weight.0", 3, 4), w("tare.weight.1", 5, 6)],
        nodes: [
          node("Add", ["x", "w"], ["a"]),
          node("Add", ["a", "tare.weight.0"], ["b"]),
          node("Add", ["b", "tare.weight.1"], ["y"]),
        ],
        inputs: [x],
        outputs: [y, value("w", "float32", [2])],
      }),
    });
    expect((await check(bytes, feeds)).slice(1)).toEqual(["tare.weight.0", "tare.weight.1"]);
  });

  test("keeps names that are hard to spell", async () => {
    const names = ["__proto__", "ü/☃", "a b", "/m/blk.0/Constant_1_output_0"];
    const bytes = model({
      graph: graph({
        initializers: names.map((name, index) => w(name, index, index + 1)),
        nodes: names.map((name, index) =>
          node(
            "Add",
            [index === 0 ? "x" : `t${index - 1}`, name],
            [index === names.length - 1 ? "y" : `t${index}`],
          ),
        ),
        inputs: [x],
        outputs: [y],
      }),
    });
    expect(await check(bytes, feeds)).toEqual(names);
  });

  test("imports the domains of fused nodes", async () => {
    // Gelu's erf form over a MatMul's bias becomes com.microsoft nodes at "extended".
    const size = 8;
    const numbers = (count: number): ReturnType<typeof floats> =>
      floats(...Array.from({ length: count }, (_, index) => Math.sin(index)));
    const bytes = model({
      graph: graph({
        initializers: [
          tensor("m", "float32", [size, size], numbers(size * size)),
          tensor("bias", "float32", [size], numbers(size)),
          w("root", Math.SQRT2),
          w("unit", 1),
          w("half", 0.5),
        ],
        nodes: [
          node("MatMul", ["x", "m"], ["a"]),
          node("Add", ["a", "bias"], ["b"]),
          node("Div", ["b", "root"], ["c"]),
          node("Erf", ["c"], ["d"]),
          node("Add", ["d", "unit"], ["e"]),
          node("Mul", ["b", "e"], ["f"]),
          node("Mul", ["f", "half"], ["y"]),
        ],
        inputs: [value("x", "float32", [1, 3, size])],
        outputs: [value("y", "float32", [1, 3, size])],
      }),
    });
    const data = Float32Array.from({ length: 3 * size }, (_, index) => Math.cos(index));
    await check(bytes, { x: new Tensor("float32", data, [1, 3, size]) });
    const apart = await takeApart(bytes);
    const compiled = await compile(writeWeightless(apart.view, apart.graph, apart.bind).bytes);
    expect(
      parseOnnx(new SparseBytes("compiled", compiled)).graphs[0]?.nodes.map((each) => each.domain),
    ).toContain("com.microsoft");
  });

  const castable: OnnxDType[] = [
    "float32",
    "uint8",
    "int8",
    "uint16",
    "int16",
    "int32",
    "int64",
    "bool",
    "float16",
    "float64",
    "uint32",
    "uint64",
    "bfloat16",
    "float8_e4m3fn",
    "float8_e4m3fnuz",
    "float8_e5m2",
    "float8_e5m2fnuz",
    "uint4",
    "int4",
  ];

  test.each(castable)("lifts %s, raw and typed", async (dtype) => {
    const bits: Partial<Record<OnnxDType, number>> = { int4: 4, uint4: 4, bool: 8 };
    const width = bits[dtype] ?? Number(/\d+/.exec(dtype)?.[0]);
    // Small positive patterns are fine for every type; in typed fields they are the elements themselves.
    const count = 6;
    const raw = new Uint8Array(Math.ceil((count * width) / 8));
    const typed: number[] = [];
    for (let index = 0; index < (width < 8 ? raw.length : count); index++) {
      const pattern = dtype === "bool" ? index % 2 : 0x11 + index;
      raw[(index * Math.max(width, 8)) / 8] = pattern;
      typed.push(pattern);
    }
    const isFloat = dtype === "float32" || dtype === "float64";
    if (isFloat)
      raw.set(new Uint8Array((dtype === "float32" ? Float32Array : Float64Array).from(typed).buffer));
    const cast = (from: string, to: string): Message =>
      node("Cast", [from], [to], { to: { int: DATA_TYPE.float32 } });
    const bytes = model({
      ir: 10,
      opsets: { "": 21 },
      graph: graph({
        initializers: [
          tensor("r", dtype, [2, 3], { raw }),
          tensor("t", dtype, [2, 3], { packed: typed }),
          tensor("loose", dtype, [2, 3], { unpacked: typed }),
        ],
        nodes: [
          cast("r", "rf"),
          cast("t", "tf"),
          cast("loose", "lf"),
          node("Add", ["rf", "x"], ["ry"]),
          node("Add", ["tf", "x"], ["ty"]),
          node("Add", ["lf", "x"], ["ly"]),
        ],
        inputs: [value("x", "float32", [1])],
        outputs: ["ry", "ty", "ly"].map((name) => value(name, "float32", [2, 3])),
      }),
    });
    expect(await check(bytes, { x: new Tensor("float32", [0], [1]) })).toEqual(["r", "t"]);
  });

  test("binds data of other files anew, and takes constants in", async () => {
    const weights = Buffer.concat([Buffer.alloc(5), Buffer.from(Float32Array.of(1, 2).buffer)]);
    const shape = Buffer.from(BigInt64Array.of(2n, 1n).buffer);
    const external = { "old.bin": weights, "shape.bin": shape };
    const make = (inline: boolean): Uint8Array =>
      model({
        graph: graph({
          initializers: [
            inline
              ? w("w", 1, 2)
              : tensor("w", "float32", [2], { external: { location: "old.bin", offset: 5 } }),
            tensor("shape", "int64", [2], inline ? ints(2, 1) : { external: { location: "shape.bin" } }),
          ],
          nodes: [node("Add", ["x", "w"], ["a"]), node("Reshape", ["a", "shape"], ["y"])],
          inputs: [x],
          outputs: [value("y", "float32", [2, 1])],
        }),
      });
    const apart = await takeApart(make(false), external);
    const expected = await stock(make(true), feeds);
    const thin = writeThin(apart.view, apart.graph, apart.bind);
    expect(await run(await open(thin, "extended"), feeds)).toEqual(expected);
    const { bytes, inputs } = writeWeightless(apart.view, apart.graph, apart.bind);
    const session = await open(bindCompiled(await compile(bytes), inputs, apart), "disabled");
    expect(await run(session, feeds)).toEqual(expected);
  });

  test("shares one compiled program between models with other values", async () => {
    const make = (...values: number[]): Uint8Array =>
      model({
        graph: graph({
          initializers: [
            w("scale", values[0] as number, values[1] as number),
            w("zero", values[2] as number, values[3] as number),
          ],
          nodes: [node("Mul", ["x", "scale"], ["a"]), node("Add", ["a", "zero"], ["y"])],
          inputs: [x],
          outputs: [y],
        }),
      });
    // The first tempts the optimizer: a factor of one and a summand of zero.
    const tempting = await takeApart(make(1, 1, 0, 0));
    const { bytes, inputs } = writeWeightless(tempting.view, tempting.graph, tempting.bind);
    const compiled = await compile(bytes);
    for (const values of [
      [1, 1, 0, 0],
      [2, 3, 4, 5],
    ]) {
      const other = make(...values);
      const apart = await takeApart(other);
      expect(writeWeightless(apart.view, apart.graph, apart.bind)).toEqual({ bytes, inputs });
      const session = await open(bindCompiled(compiled, inputs, apart), "disabled");
      expect(await run(session, feeds)).toEqual(await stock(other, feeds));
    }
  });
});

describe("whyNotWeightless()", () => {
  test("says that a function holds a weight; the thin model works", async () => {
    const bytes = model({
      opsets: { "": 17, d: 1 },
      functions: [
        func({
          domain: "d",
          name: "F",
          inputs: ["in"],
          outputs: ["out"],
          nodes: [constant("c", w("", 1, 2)), node("Add", ["in", "c"], ["out"])],
        }),
      ],
      graph: graph({
        initializers: [w("w", 3, 4)],
        nodes: [node("d::F", ["x"], ["a"]), node("Mul", ["a", "w"], ["y"])],
        inputs: [x],
        outputs: [y],
      }),
    });
    const apart = await checkThin(bytes, feeds);
    expect(whyNotWeightless(apart.graph)).toMatch(/"d::F\/c" belongs to a function/);
  });

  test("says so too for a branch inside a function", async () => {
    const branch = (first: number): Message =>
      graph({
        initializers: [w("w", first, first)],
        nodes: [node("Add", ["in", "w"], ["o"])],
        outputs: [value("o", "float32", [2])],
      });
    const bytes = model({
      opsets: { "": 17, d: 1 },
      functions: [
        func({
          domain: "d",
          name: "F",
          inputs: ["in", "q"],
          outputs: ["out"],
          nodes: [
            node("If", ["q"], ["out"], {
              then_branch: { graph: branch(1) },
              else_branch: { graph: branch(2) },
            }),
          ],
        }),
      ],
      graph: graph({ nodes: [node("d::F", ["x", "q"], ["y"])], inputs: [x, q], outputs: [y] }),
    });
    const apart = await checkThin(bytes, { ...feeds, q: flag(true) });
    expect(whyNotWeightless(apart.graph)).toMatch(/belongs to a function/);
  });

  test("lets functions without weights pass", async () => {
    const bytes = model({
      opsets: { "": 17, d: 1 },
      functions: [
        func({
          domain: "d",
          name: "F",
          inputs: ["in", "weight"],
          outputs: ["out"],
          nodes: [
            constant("c", w("", 2)),
            node("Add", ["in", "c"], ["t"]),
            node("Mul", ["t", "weight"], ["out"]),
          ],
        }),
      ],
      graph: graph({
        initializers: [w("w", 3, 4)],
        nodes: [node("d::F", ["x", "w"], ["y"])],
        inputs: [x],
        outputs: [y],
      }),
    });
    expect(await check(bytes, feeds)).toEqual(["w"]);
  });

  test("says that a weight is sparse; the thin model works", async () => {
    const sparse = sparseTensor(w("s", 5, 6), tensor("", "int64", [2], ints(0, 3)), [2, 2]);
    const bytes = model({
      ir: 8,
      graph: graph({
        sparse: [sparse],
        nodes: [node("MatMul", ["x", "s"], ["y"])],
        inputs: [value("x", "float32", [1, 2])],
        outputs: [value("y", "float32", [1, 2])],
      }),
    });
    const apart = await checkThin(bytes, { x: new Tensor("float32", [10, 20], [1, 2]) });
    expect(whyNotWeightless(apart.graph)).toMatch(/"s" is sparse/);
  });

  test("says that training information holds a weight; the thin model works", async () => {
    const bytes = model({
      training: [{ initialization: graph({ initializers: [w("start", 1, 2)] }) }],
      graph: graph({ nodes: [node("Relu", ["x"], ["y"])], inputs: [x], outputs: [y] }),
    });
    const apart = await checkThin(bytes, feeds);
    expect(whyNotWeightless(apart.graph)).toMatch(/"training#0.initialization\/start".*training/);
  });

  test("says that 4-bit weights are unpacked at every run; the thin model works", async () => {
    const bytes = model({
      ir: 10,
      opsets: { "": 21 },
      graph: graph({
        initializers: [tensor("w", "int4", [2, 2], { raw: Uint8Array.of(0x21, 0x43) }), w("scale", 0.5)],
        nodes: [node("DequantizeLinear", ["w", "scale"], ["d"]), node("MatMul", ["x", "d"], ["y"])],
        inputs: [value("x", "float32", [1, 2])],
        outputs: [value("y", "float32", [1, 2])],
      }),
    });
    const apart = await checkThin(bytes, { x: new Tensor("float32", [10, 20], [1, 2]) });
    expect(whyNotWeightless(apart.graph)).toMatch(/int4 weight "w"/);
  });
});
