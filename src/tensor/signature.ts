import type { DType } from "./dtype.ts";

/** A named input or output of a program. */
export interface Port {
  readonly name: string;
  /** `undefined` if it is not a dense tensor. */
  readonly dtype: DType | "string" | undefined;
  /** Each dimension is a number, a name, or `undefined` if unknown; the shape is `undefined` if the rank is unknown. */
  readonly shape: readonly (number | string | undefined)[] | undefined;
}

/** Inputs and outputs of a method. */
export interface Signature {
  readonly inputs: readonly Port[];
  readonly outputs: readonly Port[];
}
