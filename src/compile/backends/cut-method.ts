import { SparseBytes } from "../../encodings/protobuf/sparse-bytes.ts";
import { EngineError, FormatError } from "../../errors.ts";
import { crossingValues, declaredTypes, planCut, whyNotCut, writeSegment } from "../../formats/onnx/cut.ts";
import type { ValueType } from "../../formats/onnx/encode.ts";
import type { OnnxModel } from "../../formats/onnx/graph.ts";
import { parseOnnx } from "../../formats/onnx/parse.ts";
import { symbolicWeights } from "../../formats/onnx/symbolic.ts";
import type { Weight } from "../../model/config.ts";
import type { Digest } from "../../tensor/digest.ts";
import type { Port, Signature } from "../../tensor/signature.ts";
import type { Backend, Partition, PartitionWeight } from "./backend.ts";
import type { NodeRun } from "./partition.ts";

/** A method that is to be compiled. */
export interface MethodSource {
  readonly name: string;
  /** Digest of the program as it is stored. */
  readonly source: Digest;
  /** Says all that the program depends on. */
  readonly key: string;
  /** Symbolic: each weight external data that names itself. */
  readonly program: Uint8Array;
  /** The program, parsed. */
  readonly graph: OnnxModel;
  readonly signature: Signature;
  readonly weights: readonly Weight[];
  /** Says what values of the program are, by name, where the program does not. */
  inferTypes(names: readonly string[]): Promise<readonly Port[]>;
}

/** Types that JavaScript has arrays for: values of others cannot leave an engine's session. */
const TRAVELS: readonly (Port["dtype"] | undefined)[] = [
  "float16",
  "float32",
  "float64",
  "int8",
  "int16",
  "int32",
  "int64",
  "uint8",
  "uint16",
  "uint32",
  "uint64",
  "bool",
  "string",
];

/** Each is a session of its own, and a program that repeats the model's header; a useful cut has a few. */
const MAX_PARTITIONS = 1000;

/** Hexadecimal digits of a partition's digest that go into its key. */
const KEY_DIGITS = 16;

/**
 * Makes a program of each run of a method's nodes; a method of one run is its own partition, as it is.
 * @throws FormatError `unsupported` for a model that cannot be cut, or for a value that cannot travel, saying why
 */
export async function cutMethod(
  method: MethodSource,
  runs: readonly NodeRun[],
  hash: (bytes: Uint8Array) => string,
): Promise<{ readonly partition: Partition; readonly backend: Backend }[]> {
  const { name, program, graph, signature, key } = method;
  const [only, second] = runs;
  if (only && !second) {
    const partition = { method: name, index: 0, key, program, graph, signature, weights: weightsOf(graph) };
    return [{ partition, backend: only.backend }];
  }
  if (runs.length > MAX_PARTITIONS) {
    throw uncuttable(name, `there would be ${runs.length}, more than ${MAX_PARTITIONS}`);
  }
  const why = whyNotCut(graph);
  if (why !== undefined) throw uncuttable(name, why);
  const ends = runs.map((run) => run.end);
  // Nothing but Constants may follow the last run.
  ends[ends.length - 1] = graph.graph.nodes.length;
  const plans = planCut(graph, ends);
  const types = await typesOf(method, crossingValues(graph, plans));
  const view = new SparseBytes(name, program);
  return plans.map((plan, index) => {
    const bytes = writeSegment(view, graph, plan, (value) => types.get(value) ?? untyped(name, value));
    const segment = parseOnnx(new SparseBytes(`${name}, partition ${index}`, bytes));
    const port = (value: string): Port => {
      const { dtype, shape } = types.get(value) ?? untyped(name, value);
      return { name: value, dtype, shape };
    };
    const partition: Partition = {
      method: name,
      index,
      key: `${key}-${hash(bytes).slice(0, KEY_DIGITS)}`,
      program: bytes,
      graph: segment,
      signature: { inputs: plan.inputs.map(port), outputs: plan.outputs.map(port) },
      weights: weightsOf(segment),
    };
    return { partition, backend: (runs[plan.run] as NodeRun).backend };
  });
}

/** Types of everything that a partition takes or gives: as the model says, else as an engine infers. */
async function typesOf(
  method: MethodSource,
  crossing: readonly string[],
): Promise<ReadonlyMap<string, ValueType>> {
  const types = declaredTypes(method.graph);
  const unknown = crossing.filter((name) => types.get(name)?.dtype === undefined);
  if (unknown.length > 0) {
    const asked = new Set(unknown);
    const ports = await method.inferTypes(unknown).catch((error: unknown) => {
      if (!(error instanceof EngineError) || error.code !== "engine") throw error;
      throw uncuttable(method.name, `nobody can say what would travel: ${error.message}`, error);
    });
    for (const port of ports) if (asked.has(port.name)) types.set(port.name, port);
  }
  for (const name of crossing) {
    const { dtype } = types.get(name) ?? untyped(method.name, name);
    if (dtype === undefined) untyped(method.name, name);
    if (!TRAVELS.includes(dtype)) throw uncuttable(method.name, `"${name}" would travel, and is ${dtype}`);
  }
  return types;
}

function weightsOf(graph: OnnxModel): PartitionWeight[] {
  return symbolicWeights(graph).flatMap(({ tensor: { name: input, dtype, shape }, name: weight }) =>
    dtype === "string" ? [] : [{ input, weight, dtype, shape }],
  );
}

function untyped(method: string, value: string): never {
  throw uncuttable(method, `"${value}" would travel, and is no tensor whose type is known`);
}

function uncuttable(method: string, why: string, cause?: unknown): FormatError {
  return new FormatError("unsupported", `Cannot cut method "${method}" into partitions: ${why}`, {
    cause,
    hint: "compile it with one backend, or cut elsewhere: tare compile --partition",
  });
}
