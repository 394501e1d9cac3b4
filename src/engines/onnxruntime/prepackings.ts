import type { SparseBytes } from "../../encodings/protobuf/sparse-bytes.ts";
import type { OnnxModel } from "../../formats/onnx/graph.ts";
import { writeLoneNodes } from "../../formats/onnx/lone-nodes.ts";
import { type DType, tensorBytes } from "../../tensor/dtype.ts";
import type { Prepacking, WantedWeight } from "./artifact.ts";
import { fedDType, prepackingNodes } from "./prepacking.ts";

/** Minimum size of a weight with a prepacked file. For smaller weights, a copy in each session costs less than a file. */
const MIN_BYTES = 16 * 1024;

/**
 * Finds the weights of a compiled program that can be prepacked once for all sessions: large weights whose nodes can be
 * extracted.
 * @param weights weights of its inputs
 */
export function prepackingsOf(
  view: SparseBytes,
  compiled: OnnxModel,
  weights: readonly WantedWeight[],
): Prepacking[] {
  const wanted = new Map(weights.map((weight) => [weight.input, weight]));
  const inputs = new Set(wanted.keys());
  const dtypes = new Map<string, DType>(weights.map(({ input, dtype }) => [input, dtype]));
  for (const { role, local, dtype } of compiled.tensors)
    if (role === "initializer" && dtype !== "string") dtypes.set(local, dtype);
  const prepackings: Prepacking[] = [];
  for (const [input, nodes] of prepackingNodes(compiled)) {
    const weight = wanted.get(input);
    if (!weight || !isWorthAFile(weight)) continue;
    const lone = writeLoneNodes(view, compiled, nodes, input, inputs, (node, index) =>
      fedDType(node, index, dtypes),
    );
    if (!lone) continue;
    const { template, operands } = lone;
    prepackings.push({ input, operands, before: toBase64(template.before), graph: toBase64(template.graph) });
  }
  return prepackings;
}

/** Whether a weight is large enough for a separate file. */
export function isWorthAFile({ dtype, shape }: Pick<WantedWeight, "dtype" | "shape">): boolean {
  return (tensorBytes(dtype, shape) ?? 0) >= MIN_BYTES;
}

function toBase64(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("base64");
}
