import type { OnnxModel, OnnxValue } from "../../formats/onnx/graph.ts";
import type { Port, Signature } from "../../tensor/signature.ts";

/** Reads the inputs and outputs of a model from its graph, without initializers. */
export function signatureOf(graph: OnnxModel): Signature {
  const bound = new Set(graph.tensors.filter((each) => each.graph === graph.graph).map((each) => each.local));
  const port = ({ name, dtype, shape }: OnnxValue): Port => ({ name, dtype, shape });
  return {
    inputs: graph.graph.inputs.filter((input) => !bound.has(input.name)).map(port),
    outputs: graph.graph.outputs.map(port),
  };
}
