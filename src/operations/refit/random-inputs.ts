import type { Port, Signature } from "../../engines/engine.ts";
import { EngineError } from "../../errors.ts";
import { DTYPE_BITS, type DType, elementCount } from "../../tensor/dtype.ts";
import { float16Bits } from "../../tensor/float16.ts";
import type { Tensor, Tensors } from "../../tensor/tensor.ts";

/** Limit of elements of a generated input. A test run needs no larger input. */
const MAX_ELEMENTS = 2 ** 26;

/**
 * Generates inputs that match a signature, the same in each run: floats from -1 to 1, and integers 0 or 1, which are
 * token ids of every vocabulary.
 * @param free size of dimensions that the signature leaves open
 * @throws EngineError `unsupported` for inputs that are not dense tensors of numbers
 */
export function randomInputs({ inputs }: Signature, free: number): Tensors {
  const random = generator();
  return Object.fromEntries(inputs.map((port) => [port.name, randomTensor(port, free, random)]));
}

function randomTensor({ name, dtype, shape }: Port, free: number, random: () => number): Tensor {
  const sizes = shape?.map((dim) => (typeof dim === "number" ? dim : free));
  const count = sizes && elementCount(sizes);
  if (!dtype || dtype === "string" || count === undefined || count > MAX_ELEMENTS || DTYPE_BITS[dtype] < 8) {
    throw new EngineError(
      "unsupported",
      `Cannot generate input "${name}": it is ${dtype ?? "not a tensor"}`,
      {
        tensor: name,
        hint: "Give your own inputs (--in FILE)",
      },
    );
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
  // Little-endian integers: the value is in the first byte.
  else view.setUint8(at, value < 0.5 ? 0 : 1);
}

/** Generates pseudorandom numbers from 0 to 1 with a fixed seed (mulberry32). */
function generator(): () => number {
  let state = 0x7a3e;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
