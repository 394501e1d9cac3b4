import { elementCount } from "../../tensor/dtype.ts";
import type { OnnxModel, OnnxNode, OnnxTensor } from "./graph.ts";
import { SHAPE_INPUTS } from "./schema.ts";

/** Longest int64 vector that is a constant: longer than any shape, and shorter than any table worth sharing. */
const MAX_SHAPE_LENGTH = 64;

/**
 * Separates weights from constants: every tensor of more than one element that is not shape-like is a weight, however
 * small. Depends on dtype, shape and use, never on values, so that all models of a family agree.
 *
 * Constants stay in the program: strings, one-element tensors, int64 vectors of up to 64 elements, tensors that an
 * operator reads as a shape, tensors in attributes other than `Constant`'s `value` (engines read those as attributes),
 * and data in unpacked fields.
 */
export function weightsOf(model: OnnxModel): OnnxTensor[] {
  const shapes = shapeNames(model.graphs.flatMap((graph) => graph.nodes));
  const functionShapes = shapeNames(model.functionNodes);
  return model.tensors.filter((tensor) => {
    const { role, dtype, shape, data, graph } = tensor;
    if (role === "attribute" || dtype === "string" || data.kind === "other") return false;
    // Six-bit floats are stored one per varint, but packed in bytes: they are not an array of varints.
    if (data.kind === "varint" && dtype.startsWith("float6")) return false;
    const count = elementCount(shape) ?? 0;
    if (count <= 1) return false;
    if (role !== "sparse" && shapes.has(tensor.local)) return false;
    if (!graph && functionShapes.has(tensor.local)) return false;
    return !(dtype === "int64" && shape.length <= 1 && count <= MAX_SHAPE_LENGTH);
  });
}

/** Names of values that nodes read as shapes. */
function shapeNames(nodes: readonly OnnxNode[]): Set<string> {
  const names = new Set<string>();
  for (const { opType, domain, inputs } of nodes) {
    if (domain !== "") continue;
    for (const index of SHAPE_INPUTS[opType] ?? []) if (inputs[index]) names.add(inputs[index]);
  }
  return names;
}
