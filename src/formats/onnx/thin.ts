import { type Edit, splice, spliceSparse } from "../../encodings/protobuf/splice.ts";
import type { SparseBytes } from "../../encodings/protobuf/sparse-bytes.ts";
import { weightsOf } from "./classify.ts";
import { encodeTensor, type TensorBinding } from "./encode.ts";
import type { OnnxModel, OnnxTensor } from "./graph.ts";

/** Gives the place of a tensor's bytes, by its {@link OnnxTensor.name}. */
export type BindTensor = (name: string) => TensorBinding;

/** Tensors with bytes outside of the program. */
export interface BoundTensors {
  readonly weights: readonly OnnxTensor[];
  /** Constants in another file. */
  readonly constants: readonly OnnxTensor[];
}

/** The tensors of an exported program to bind: the weights, and constants in other files. */
export function boundTensors(model: OnnxModel): BoundTensors {
  const weights = weightsOf(model);
  const isWeight = new Set(weights);
  const constants = model.tensors.filter(
    (tensor) => tensor.data.kind === "external" && !isWeight.has(tensor),
  );
  return { weights, constants };
}

/**
 * Encodes the thin model: the program, with each weight bound to external data. Any ONNX runtime opens it.
 * @param view the program, with a gap for each weight
 */
export function writeThin(
  view: SparseBytes,
  model: OnnxModel,
  bind: BindTensor,
  bound: BoundTensors = boundTensors(model),
): Uint8Array {
  return splice(view, edits(bind, bound));
}

/** Encodes the thin model with gaps for tensors whose bytes follow their message, in the order of the file. */
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

/** Replaces a tensor's message by a message with another binding. */
export function rebind(tensor: OnnxTensor, binding: TensorBinding): Edit {
  const { frame, local, dtype, shape, role } = tensor;
  if (dtype === "string") throw new TypeError("strings are never bound");
  // The tensor of a Constant has another name, which has no use.
  const bytes = encodeTensor(role === "constant" ? "" : local, dtype, shape, binding);
  const gap = binding.kind === "following" ? binding.length : 0;
  return { frame, start: frame.start, end: frame.end, bytes, gap };
}
