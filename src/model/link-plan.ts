import type { Weight } from "./config.ts";
import type { Digest } from "./digest.ts";

/** A weight and the storage it is bound to. */
export interface Binding extends Weight {
  /** A file, relative to the root that the plan was made for. */
  readonly location: string;
  /** In bytes from the start of that file. */
  readonly offset: number;
  /** In bytes. */
  readonly length: number;
}

/** How one method of a model is linked: plain data, made before anything is opened. */
export interface LinkPlan {
  readonly model: string;
  readonly method: string;
  /** Digest of the program. */
  readonly program: Digest;
  readonly weights: readonly Binding[];
  /** Tensors that belong to the program but not to its file. */
  readonly constants: readonly Binding[];
}
