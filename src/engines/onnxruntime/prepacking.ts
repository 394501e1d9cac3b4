import type { OnnxModel, OnnxNode } from "../../formats/onnx/graph.ts";
import type { BoundTensors } from "../../formats/onnx/thin.ts";
import type { DType } from "../../tensor/dtype.ts";

/** How ONNX Runtime's CPU provider prepacks an operator. */
interface PrepackingRule {
  /** Indexes of the inputs that it copies into another layout. */
  readonly inputs: readonly number[];
  /** Inputs whose copy also contains the others; all unless given. */
  readonly main?: readonly number[];
  /** Slowdown without prepacking, measured on x86 with AVX-512; 1 if there was no measurable difference. */
  readonly slowdown: number;
  /** Dtypes of the computed inputs, or the index of the input that has the same dtype. */
  readonly fed?: Readonly<Record<number, DType | number>>;
}

const PREPACKED: Readonly<Record<string, PrepackingRule>> = {
  MatMulNBits: { inputs: [1, 2, 3], main: [1], slowdown: 150, fed: { 0: 2 } },
  QLinearMatMul: { inputs: [3], slowdown: 9, fed: { 0: 2 } },
  DynamicQuantizeMatMul: { inputs: [1], slowdown: 5, fed: { 0: "float32" } },
  DynamicQuantizeLSTM: {
    inputs: [1, 2],
    slowdown: 5,
    fed: { 0: "float32", 4: "int32", 5: "float32", 6: "float32" },
  },
  MatMulIntegerToFloat: { inputs: [1], slowdown: 3, fed: { 0: "uint8", 2: "float32", 4: "uint8" } },
  QGemm: { inputs: [3], slowdown: 3, fed: { 0: 2 } },
  QAttention: { inputs: [1], slowdown: 2, fed: { 0: 6, 5: "int32", 8: "float32" } },
  QLinearConv: { inputs: [3], slowdown: 1.5 },
  MatMulInteger: { inputs: [1], slowdown: 1, fed: { 0: "uint8", 2: "uint8" } },
  ConvTranspose: { inputs: [1], slowdown: 1 },
  MatMul: { inputs: [1], slowdown: 1, fed: { 0: 1 } },
  FusedMatMul: { inputs: [1], slowdown: 1, fed: { 0: 1 } },
  Gemm: { inputs: [1], slowdown: 1, fed: { 0: 1, 2: 1 } },
  LSTM: { inputs: [1, 2], slowdown: 1, fed: { 0: 1, 4: "int32", 5: 1, 6: 1 } },
  GRU: { inputs: [1, 2], slowdown: 1, fed: { 0: 1, 4: "int32", 5: 1 } },
  Attention: { inputs: [1], slowdown: 1, fed: { 0: 1, 3: "int32", 4: 1, 5: 1 } },
};

/** Prepacking of a session: for kernels that need it, for all, or for none. */
export type PrepackingMode = "auto" | "on" | "off";

/** The operator that makes prepacking necessary; `undefined` if prepacking gains nothing. */
export function findPrepackingOperator(graph: OnnxModel): string | undefined {
  return nodesOf(graph).find((node) => (PREPACKED[node.opType]?.slowdown ?? 1) > 1)?.opType;
}

/** Names of the values that the engine copies for each session if it prepacks. */
export function prepackedValues(graph: OnnxModel): Set<string> {
  const values = new Set<string>();
  for (const { opType, inputs } of nodesOf(graph)) {
    for (const index of PREPACKED[opType]?.inputs ?? []) if (inputs[index]) values.add(inputs[index]);
  }
  return values;
}

/** Finds the values that the engine prepacks, and the nodes that use the copies. */
export function prepackingNodes(graph: OnnxModel): Map<string, OnnxNode[]> {
  const nodes = new Map<string, OnnxNode[]>();
  for (const node of nodesOf(graph)) {
    const rule = PREPACKED[node.opType];
    for (const index of rule?.main ?? rule?.inputs ?? []) {
      const value = node.inputs[index];
      if (value) nodes.set(value, [...(nodes.get(value) ?? []), node]);
    }
  }
  return nodes;
}

/**
 * Infers the dtype of a computed input from those of the node's weights and constants.
 * @returns `undefined` if it is unknown
 */
export function fedDType(
  node: OnnxNode,
  index: number,
  dtypes: ReadonlyMap<string, DType>,
): DType | undefined {
  const known = PREPACKED[node.opType]?.fed?.[index];
  return typeof known === "number" ? dtypes.get(node.inputs[known] ?? "") : known;
}

/**
 * Finds a node for which prepacking gives wrong results without an error: ONNX Runtime 1.30 ignores scales and zero points
 * of a constant `MatMulNBits` weight if these are not constants.
 * @param constant returns whether a value is a constant
 */
export function findMispackedNode(
  graph: OnnxModel,
  constant: (value: string) => boolean,
): OnnxNode | undefined {
  return nodesOf(graph).find(
    ({ opType, inputs: [, matrix = "", ...scales] }) =>
      opType === "MatMulNBits" &&
      constant(matrix) &&
      scales.slice(0, 2).some((value) => value !== "" && !constant(value)),
  );
}

/** Names of a program's weights that the engine copies for each session if it prepacks. */
export function prepackedWeights(graph: OnnxModel, bound: BoundTensors): string[] {
  const values = prepackedValues(graph);
  return bound.weights.filter((tensor) => values.has(tensor.local)).map((tensor) => tensor.name);
}

function nodesOf(graph: OnnxModel): OnnxNode[] {
  return graph.graphs.flatMap((each) => each.nodes);
}
