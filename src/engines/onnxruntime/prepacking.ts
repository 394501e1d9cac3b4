import type { OnnxModel, OnnxNode } from "../../formats/onnx/graph.ts";
import { boundTensors } from "../../formats/onnx/thin.ts";

/**
 * Operators that ONNX Runtime's CPU provider prepacks: which inputs it copies into a layout of its own, and what
 * running them unpacked costs (times, measured on x86 with AVX-512; 1 where nothing was resolved).
 */
const PREPACKED: Readonly<Record<string, { readonly inputs: readonly number[]; readonly slowdown: number }>> =
  {
    MatMulNBits: { inputs: [1, 2, 3], slowdown: 150 },
    QLinearMatMul: { inputs: [3], slowdown: 9 },
    DynamicQuantizeMatMul: { inputs: [1], slowdown: 5 },
    DynamicQuantizeLSTM: { inputs: [1, 2], slowdown: 5 },
    MatMulIntegerToFloat: { inputs: [1], slowdown: 3 },
    QGemm: { inputs: [3], slowdown: 3 },
    QAttention: { inputs: [1], slowdown: 2 },
    QLinearConv: { inputs: [3], slowdown: 1.5 },
    MatMulInteger: { inputs: [1], slowdown: 1 },
    ConvTranspose: { inputs: [1], slowdown: 1 },
    MatMul: { inputs: [1], slowdown: 1 },
    FusedMatMul: { inputs: [1], slowdown: 1 },
    Gemm: { inputs: [1], slowdown: 1 },
    LSTM: { inputs: [1, 2], slowdown: 1 },
    GRU: { inputs: [1, 2], slowdown: 1 },
    Attention: { inputs: [1], slowdown: 1 },
  };

/** Whether prepacking is on for a session: for the kernels that need it, for all, for none. */
export type Prepacking = "auto" | "on" | "off";

/** The operator that makes prepacking necessary; `undefined` where the engine gains nothing by it. */
export function needsPrepacking(graph: OnnxModel): string | undefined {
  return nodesOf(graph).find((node) => (PREPACKED[node.opType]?.slowdown ?? 1) > 1)?.opType;
}

/** Names of the values that the engine copies per session if prepacking is on. */
export function prepackedValues(graph: OnnxModel): Set<string> {
  const values = new Set<string>();
  for (const { opType, inputs } of nodesOf(graph)) {
    for (const index of PREPACKED[opType]?.inputs ?? []) if (inputs[index]) values.add(inputs[index]);
  }
  return values;
}

/** Names of a program's weights that the engine copies per session if prepacking is on. */
export function packedWeights(graph: OnnxModel): string[] {
  const values = prepackedValues(graph);
  return boundTensors(graph)
    .weights.filter((tensor) => values.has(tensor.local))
    .map((tensor) => tensor.name);
}

function nodesOf(graph: OnnxModel): OnnxNode[] {
  return graph.graphs.flatMap((each) => each.nodes);
}
