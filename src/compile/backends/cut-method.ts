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

/** A method to compile. */
export interface MethodSource {
  readonly name: string;
  /** Digest of the program as it is stored. */
  readonly source: Digest;
  /** Identifies the program in caches. */
  readonly key: string;
  /** ONNX bytes. Each weight is external data that names the weight. */
  readonly program: Uint8Array;
  /** The parsed program. */
  readonly graph: OnnxModel;
  readonly signature: Signature;
  readonly weights: readonly Weight[];
  /** Infers the types of values by name, for values whose type the program does not declare. */
  inferTypes(names: readonly string[]): Promise<readonly Port[]>;
}

/** Dtypes that engine sessions can return. */
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

/** Limit of partitions, since each has a session and repeats the header of the model. */
const MAX_PARTITIONS = 1000;

/** Number of hexadecimal digits of a partition's digest in its key. */
const KEY_DIGITS = 16;

/**
 * Makes a program of each run of consecutive nodes of a method. A method of one run is one partition, unchanged.
 * @throws FormatError `unsupported` for a model that cannot be cut, or a value that sessions cannot pass on
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
    throw uncuttable(name, `it would have ${runs.length}, and the limit is ${MAX_PARTITIONS}`);
  }
  const why = whyNotCut(graph);
  if (why !== undefined) throw uncuttable(name, why);
  const ends = runs.map((run) => run.end);
  // Only Constants may follow the last run.
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

/** Finds the types of all inputs and outputs of partitions: from the model, else inferred by an engine. */
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
      throw uncuttable(
        method.name,
        `the types of values between partitions are unknown: ${error.message}`,
        error,
      );
    });
    for (const port of ports) if (asked.has(port.name)) types.set(port.name, port);
  }
  for (const name of crossing) {
    const { dtype } = types.get(name) ?? untyped(method.name, name);
    if (dtype === undefined) untyped(method.name, name);
    if (!TRAVELS.includes(dtype))
      throw uncuttable(
        method.name,
        `value "${name}" would pass between partitions, and sessions cannot return ${dtype}`,
      );
  }
  return types;
}

function weightsOf(graph: OnnxModel): PartitionWeight[] {
  return symbolicWeights(graph).flatMap(({ tensor: { name: input, dtype, shape }, name: weight }) =>
    dtype === "string" ? [] : [{ input, weight, dtype, shape }],
  );
}

function untyped(method: string, value: string): never {
  throw uncuttable(
    method,
    `value "${value}" would pass between partitions, and is not a tensor of a known type`,
  );
}

function uncuttable(method: string, why: string, cause?: unknown): FormatError {
  return new FormatError("unsupported", `Cannot cut method "${method}" into partitions: ${why}`, {
    cause,
    hint: "Compile it with one backend, or cut at other nodes: tare compile --partition",
  });
}
