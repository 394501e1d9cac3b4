import type { Port, Signature } from "../../engines/engine.ts";
import { EngineError } from "../../errors.ts";
import { DTYPE_BITS, type DType, elementCount } from "../../tensor/dtype.ts";
import { float16Bits } from "../../tensor/float16.ts";
import type { Tensor, Tensors } from "../../tensor/tensor.ts";

/** A run on made-up inputs need not be large. */
const MAX_ELEMENTS = 2 ** 26;

/**
 * Makes inputs that a signature allows, the same each time: floats from -1 to 1, integers 0 or 1, so that they are ids
 * of any vocabulary.
 * @param free what a dimension becomes that the signature leaves open
 * @throws EngineError `unsupported` for inputs that are no dense tensors of numbers
 */
export function randomInputs({ inputs }: Signature, free: number): Tensors {
  const random = generator();
  return Object.fromEntries(inputs.map((port) => [port.name, randomTensor(port, free, random)]));
}

function randomTensor({ name, dtype, shape }: Port, free: number, random: () => number): Tensor {
  const sizes = shape?.map((dim) => (typeof dim === "number" ? dim : free));
  const count = sizes && elementCount(sizes);
  if (!dtype || dtype === "string" || count === undefined || count > MAX_ELEMENTS || DTYPE_BITS[dtype] < 8) {
    throw new EngineError("unsupported", `Cannot make up input "${name}": it is ${dtype ?? "no tensor"}`, {
      tensor: name,
      hint: "give inputs of your own",
    });
  }
  const bytes = new Uint8Array((count * DTYPE_BITS[dtype]) / 8);
  const view = new DataView(bytes.buffer);
  for (let index = 0; index < count; index++) putNumber(view, index, dtype, random());
  return { dtype, shape: sizes as number[], bytes };
}

/** @param value from 0 to 1 */
function putNumber(view: DataView, index: number, dtype: DType, value: number): void {
  const width = DTYPE_BITS[dtype] / 8;
  const at = index * width;
  const float = 2 * value - 1;
  if (dtype === "float32") view.setFloat32(at, float, true);
  else if (dtype === "float64") view.setFloat64(at, float, true);
  else if (dtype === "float16") view.setUint16(at, float16Bits(float), true);
  // Little-endian: the first byte is the lowest.
  else view.setUint8(at, value < 0.5 ? 0 : 1);
}

/** Numbers from 0 to 1 that look random and are the same each time (mulberry32). */
function generator(): () => number {
  let state = 0x7a3e;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
