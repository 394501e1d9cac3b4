import type { OnnxModel, OnnxNode } from "../../formats/onnx/graph.ts";

/** Formats the type of an operator for rules and errors: `Softmax`, `com.microsoft::Gelu`. */
export function operatorOf({ domain, opType }: OnnxNode): string {
  return domain === "" ? opType : `${domain}::${opType}`;
}

/** Counts the nodes of a program, including those of bodies. */
export function countNodes(model: OnnxModel): number {
  return model.graphs.reduce((sum, graph) => sum + graph.nodes.length, 0);
}
