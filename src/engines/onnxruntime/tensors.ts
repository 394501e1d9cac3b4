import { EngineError } from "../../errors.ts";
import { type DType, isDType, tensorBytes } from "../../tensor/dtype.ts";
import type { Tensor } from "../../tensor/tensor.ts";
import type { OrtNative, OrtPort, OrtTensor } from "./native.ts";

/** Array type of each dtype in onnxruntime-node, which has no arrays for other dtypes. */
const ARRAYS: Partial<Record<DType, new (buffer: ArrayBuffer) => ArrayBufferView>> = {
  float32: Float32Array,
  float64: Float64Array,
  float16: Uint16Array,
  int8: Int8Array,
  uint8: Uint8Array,
  int16: Int16Array,
  uint16: Uint16Array,
  int32: Int32Array,
  uint32: Uint32Array,
  int64: BigInt64Array,
  uint64: BigUint64Array,
  bool: Uint8Array,
};

/**
 * Makes an engine tensor. Copies the bytes, so that the array is aligned and only the engine uses its memory.
 * @param copy if false, uses the bytes without a copy if they are at the start of their buffer
 * @throws EngineError `bad-input` with the name of the input
 */
export function toOrt(native: OrtNative, name: string, tensor: Tensor, copy = true): OrtTensor {
  const { dtype, shape } = tensor;
  if (tensor.dtype === "string") return new native.Tensor("string", [...tensor.strings], shape);
  const Elements = ARRAYS[tensor.dtype];
  const { bytes } = tensor;
  if (!Elements) throw badInput(name, `onnxruntime-node cannot be fed ${dtype} tensors`);
  const expected = tensorBytes(tensor.dtype, shape);
  if (bytes.byteLength !== expected) {
    throw badInput(
      name,
      `[${shape.join(", ")}] ${dtype} takes ${expected} bytes, ${bytes.byteLength} are there`,
    );
  }
  const Half = (globalThis as { Float16Array?: new (buffer: ArrayBuffer) => ArrayBufferView }).Float16Array;
  const ownsBuffer = bytes.byteOffset === 0 && bytes.byteLength === bytes.buffer.byteLength;
  const { buffer } = copy || !ownsBuffer ? new Uint8Array(bytes) : (bytes as Uint8Array<ArrayBuffer>);
  return new native.Tensor(dtype, new (dtype === "float16" && Half ? Half : Elements)(buffer), shape);
}

/**
 * Refuses outputs that the engine cannot return: onnxruntime-node 1.30 ends the process for int4.
 * @throws EngineError `engine` with the name of the output
 */
export function requireReadable(outputs: readonly OrtPort[], wanted: readonly string[]): void {
  for (const { name, isTensor, type } of outputs) {
    if (!isTensor || type === undefined || type === "string" || !wanted.includes(name)) continue;
    if (isDType(type) && ARRAYS[type]) continue;
    throw new EngineError("engine", `Cannot read output "${name}": onnxruntime-node has no ${type} arrays`, {
      tensor: name,
    });
  }
}

/**
 * Converts a tensor of the engine.
 * @throws EngineError `engine` for outputs that are not dense tensors
 */
export function fromOrt(name: string, tensor: OrtTensor): Tensor {
  const shape = [...(tensor.dims ?? [])];
  if (tensor.type === "string") return { dtype: "string", shape, strings: tensor.data as readonly string[] };
  const { data } = tensor;
  if (!isDType(tensor.type) || !ArrayBuffer.isView(data)) {
    throw new EngineError("engine", `Cannot read output "${name}": it is not a dense tensor`, {
      tensor: name,
    });
  }
  return { dtype: tensor.type, shape, bytes: new Uint8Array(data.buffer, data.byteOffset, data.byteLength) };
}

function badInput(name: string, reason: string): EngineError {
  return new EngineError("bad-input", `Cannot feed input "${name}": ${reason}`, { tensor: name });
}
