import type { SparseBytes } from "../../encodings/protobuf/sparse-bytes.ts";
import { tensorBytes } from "../../tensor/dtype.ts";
import type { OnnxModel, OnnxTensor } from "./graph.ts";
import { type BindTensor, type BoundTensors, boundTensors, writeThin } from "./thin.ts";

/** Goes before a weight's name where a file's name would stand. */
const SYMBOL = "weight:";

/** A tensor of a symbolic program that is a weight. */
export interface SymbolicWeight {
  readonly tensor: OnnxTensor;
  /** Name in the model's weight table. */
  readonly name: string;
}

/**
 * Writes a *symbolic* program: each weight is external data that names the weight itself instead of a file, and
 * every constant is in the program. So what is a weight is written down, once, for the whole program: no piece that is
 * cut out of it judges anew, and no weight's value is needed to compile it.
 * @param bind where constants in other files are (inline)
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

/** The tensors of a symbolic program that are bound: those that say so. */
export function symbolicTensors(model: OnnxModel): BoundTensors {
  return { weights: symbolicWeights(model).map((weight) => weight.tensor), constants: [] };
}

/**
 * Binds a symbolic program: writes the thin model that any ONNX runtime opens.
 * @param bind where a tensor's bytes are, by its name in this program
 */
export function bindSymbolic(view: SparseBytes, model: OnnxModel, bind: BindTensor): Uint8Array {
  return writeThin(view, model, bind, symbolicTensors(model));
}

/** What a symbolic program names in a weight's place. */
export function symbolicLocation(name: string): string {
  return SYMBOL + name;
}

function sizeOf({ name, dtype, shape }: OnnxTensor): number {
  const bytes = dtype === "string" ? undefined : tensorBytes(dtype, shape);
  if (bytes === undefined) throw new TypeError(`"${name}" has no size`);
  return bytes;
}
