import { type Edit, splice, spliceSparse } from "../../encodings/protobuf/splice.ts";
import type { SparseBytes } from "../../encodings/protobuf/sparse-bytes.ts";
import { weightsOf } from "./classify.ts";
import { encodeTensor, type TensorBinding } from "./encode.ts";
import type { OnnxModel, OnnxTensor } from "./graph.ts";

/** Says where a tensor's bytes are, by the name that {@link OnnxTensor.name} gives it. */
export type BindTensor = (name: string) => TensorBinding;

/** Tensors whose bytes are not in the program. */
export interface BoundTensors {
  readonly weights: readonly OnnxTensor[];
  /** Constants that lie in another file. */
  readonly constants: readonly OnnxTensor[];
}

/** Tells which tensors of a program as its exporter wrote it are bound: the weights, and constants of other files. */
export function boundTensors(model: OnnxModel): BoundTensors {
  const weights = weightsOf(model);
  const isWeight = new Set(weights);
  const constants = model.tensors.filter(
    (tensor) => tensor.data.kind === "external" && !isWeight.has(tensor),
  );
  return { weights, constants };
}

/**
 * Writes the thin model: the program, each of its weights bound to external data. Any ONNX runtime opens it.
 * @param view the program, a gap where each weight was
 */
export function writeThin(
  view: SparseBytes,
  model: OnnxModel,
  bind: BindTensor,
  bound: BoundTensors = boundTensors(model),
): Uint8Array {
  return splice(view, edits(bind, bound));
}

/** The same with gaps for tensors that are bound to what follows them, in the order of the file. */
export function writeSparse(
  view: SparseBytes,
  model: OnnxModel,
  bind: BindTensor,
  bound: BoundTensors = boundTensors(model),
): SparseBytes {
  return spliceSparse(view, edits(bind, bound));
}

function edits(bind: BindTensor, { weights, constants }: BoundTensors): Edit[] {
  return [...weights, ...constants].map((tensor) => rebind(tensor, bind(tensor.name)));
}

/** Replaces a tensor's message by one with another binding. */
export function rebind(tensor: OnnxTensor, binding: TensorBinding): Edit {
  const { frame, local, dtype, shape, role } = tensor;
  if (dtype === "string") throw new TypeError("strings are never bound");
  // A Constant's tensor has a name of its own, which nobody reads.
  const bytes = encodeTensor(role === "constant" ? "" : local, dtype, shape, binding);
  const gap = binding.kind === "following" ? binding.length : 0;
  return { frame, start: frame.start, end: frame.end, bytes, gap };
}
