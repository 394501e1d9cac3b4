import type { DType } from "./dtype.ts";

/** A named input or output of a program. */
export interface Port {
  readonly name: string;
  /** `undefined` where it is not a dense tensor. */
  readonly dtype: DType | "string" | undefined;
  /** A number, a name, or `undefined` where nothing is said; `undefined` as a whole where the rank is unknown. */
  readonly shape: readonly (number | string | undefined)[] | undefined;
}

/** What a method takes and gives. */
export interface Signature {
  readonly inputs: readonly Port[];
  readonly outputs: readonly Port[];
}
