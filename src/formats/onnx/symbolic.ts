import type { SparseBytes } from "../../encodings/protobuf/sparse-bytes.ts";
import { tensorBytes } from "../../tensor/dtype.ts";
import type { OnnxModel, OnnxTensor } from "./graph.ts";
import { type BindTensor, type BoundTensors, boundTensors, writeThin } from "./thin.ts";

/** Prefix of a weight's name, in the place of a file's name. */
const SYMBOL = "weight:";

/** A weight of a symbolic program. */
export interface SymbolicWeight {
  readonly tensor: OnnxTensor;
  /** Name in the model's weight table. */
  readonly name: string;
}

/**
 * Encodes a *symbolic* program: each weight is external data that names the weight instead of a file, and every
 * constant is in the program. So the choice of weights is recorded once for the whole program and for each piece cut
 * out of it, and compiling needs no weight's value.
 * @param bind gives the bytes of constants in other files (inline)
 */
export function writeSymbolic(view: SparseBytes, model: OnnxModel, bind: BindTensor): Uint8Array {
  const bound = boundTensors(model);
  const symbols = new Map(bound.weights.map((weight) => [weight.name, weight]));
  return writeThin(
    view,
    model,
    (name) => {
      const weight = symbols.get(name);
      return weight
        ? { kind: "file", location: SYMBOL + name, offset: 0, length: sizeOf(weight) }
        : bind(name);
    },
    bound,
  );
}

/** The weights of a symbolic program. */
export function symbolicWeights(model: OnnxModel): SymbolicWeight[] {
  return model.tensors.flatMap((tensor) =>
    tensor.data.kind === "external" && tensor.data.location.startsWith(SYMBOL)
      ? [{ tensor, name: tensor.data.location.slice(SYMBOL.length) }]
      : [],
  );
}

/** The tensors of a symbolic program to bind: its weights. */
export function symbolicTensors(model: OnnxModel): BoundTensors {
  return { weights: symbolicWeights(model).map((weight) => weight.tensor), constants: [] };
}

/**
 * Binds a symbolic program: encodes a thin model that any ONNX runtime opens.
 * @param bind gives the place of a tensor's bytes, by its name in this program
 */
export function bindSymbolic(view: SparseBytes, model: OnnxModel, bind: BindTensor): Uint8Array {
  return writeThin(view, model, bind, symbolicTensors(model));
}

/** The location that a symbolic program has for a weight. */
export function symbolicLocation(name: string): string {
  return SYMBOL + name;
}

function sizeOf({ name, dtype, shape }: OnnxTensor): number {
  const bytes = dtype === "string" ? undefined : tensorBytes(dtype, shape);
  if (bytes === undefined) throw new TypeError(`"${name}" has no size`);
  return bytes;
}
