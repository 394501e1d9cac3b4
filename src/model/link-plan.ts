import type { Weight } from "./config.ts";
import type { Digest } from "../tensor/digest.ts";

/** A weight and the storage it is bound to. */
export interface Binding extends Weight {
  /** A file, relative to the root that the plan was made for. */
  readonly location: string;
  /** In bytes from the start of that file. */
  readonly offset: number;
  /** In bytes. */
  readonly length: number;
}

/** Stands for the digest of a weight that nobody hashed: that of nothing. What is made of such a weight is not kept. */
export const ANONYMOUS: Digest = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

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
