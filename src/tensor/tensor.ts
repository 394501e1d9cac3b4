import type { DType } from "./dtype.ts";

/** A dense tensor of numbers in memory. */
export interface NumberTensor {
  readonly dtype: DType;
  readonly shape: readonly number[];
  /** Little-endian, row-major; its length is `tensorBytes(dtype, shape)`. */
  readonly bytes: Uint8Array;
}

/** A tensor of strings, row-major. */
export interface StringTensor {
  readonly dtype: "string";
  readonly shape: readonly number[];
  readonly strings: readonly string[];
}

/** An input or output of a session. */
export type Tensor = NumberTensor | StringTensor;

/** Tensors by name. */
export type Tensors = Readonly<Record<string, Tensor>>;
