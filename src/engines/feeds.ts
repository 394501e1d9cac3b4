import { EngineError } from "../errors.ts";
import { elementCount, tensorBytes } from "../tensor/dtype.ts";
import type { Tensor, Tensors } from "../tensor/tensor.ts";
import type { Port, Signature } from "./engine.ts";

/**
 * Checks that exactly the inputs of a signature are given, with its dtypes, ranks and fixed dimensions, and with as many
 * bytes as their shapes take. A scalar may have any shape of one element, as engines accept it.
 * @param name the model's name in errors
 * @throws EngineError `missing-input`, `bad-input` naming the input
 */
export function requireFeeds(signature: Signature, inputs: Tensors, name?: string): void {
  const ports = signature.inputs;
  const missing = ports.find((port) => !Object.hasOwn(inputs, port.name) || inputs[port.name] === undefined);
  if (missing !== undefined) {
    throw new EngineError("missing-input", `Cannot run without input "${missing.name}"`, {
      tensor: missing.name,
    });
  }
  const names = new Set(ports.map((port) => port.name));
  const odd = Object.keys(inputs).find((each) => !names.has(each));
  if (odd !== undefined) {
    const hint = `Use one of its inputs: ${[...names].join(", ")}`;
    throw new EngineError("bad-input", `Cannot feed "${odd}": the model has no such input`, {
      tensor: odd,
      hint,
    });
  }
  for (const port of ports) {
    const reason = mismatch(port, inputs[port.name] as Tensor);
    if (reason === undefined) continue;
    const model = name === undefined ? "the model" : `"${name}"`;
    throw new EngineError("bad-input", `Cannot run ${model}: input "${port.name}" ${reason}`, {
      tensor: port.name,
    });
  }
}

/** Says what of a tensor does not match its port; `undefined` if it matches. */
function mismatch(port: Port, tensor: Tensor): string | undefined {
  const { dtype, shape } = tensor;
  if (port.dtype !== undefined && dtype !== port.dtype) return `is ${dtype}, not ${port.dtype}`;
  const count = elementCount(shape);
  if (count === undefined) return `has the impossible shape ${shapeText(shape)}`;
  if (port.shape && !fits(shape, count, port.shape)) {
    return `has shape ${shapeText(shape)}, not ${shapeText(port.shape)}`;
  }
  if (tensor.dtype === "string") {
    const given = tensor.strings.length;
    return given === count ? undefined : `has ${given} strings, but shape ${shapeText(shape)} takes ${count}`;
  }
  const given = tensor.bytes.byteLength;
  const wanted = tensorBytes(tensor.dtype, shape);
  if (given === wanted) return undefined;
  const takes = wanted === undefined ? "cannot have that shape" : `takes ${wanted}`;
  return `has ${given} bytes, but ${dtype} ${shapeText(shape)} ${takes}`;
}

/** Whether a shape has the rank and the fixed dimensions of a port. Names, unknown and negative dimensions are free. */
function fits(shape: readonly number[], count: number, wanted: NonNullable<Port["shape"]>): boolean {
  if (wanted.length === 0) return count === 1;
  return (
    shape.length === wanted.length &&
    wanted.every((dim, axis) => typeof dim !== "number" || dim < 0 || dim === shape[axis])
  );
}

function shapeText(shape: NonNullable<Port["shape"]>): string {
  return `[${shape.map((dim) => dim ?? "?").join(", ")}]`;
}
