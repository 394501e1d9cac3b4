import type { OnnxModel, OnnxNode } from "../../formats/onnx/graph.ts";

/** An operator as rules and errors spell it. */
export function operatorOf({ domain, opType }: OnnxNode): string {
  return domain === "" ? opType : `${domain}::${opType}`;
}

/** Nodes of a program, those of bodies among them. */
export function countNodes(model: OnnxModel): number {
  return model.graphs.reduce((sum, graph) => sum + graph.nodes.length, 0);
}
