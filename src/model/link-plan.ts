import type { Weight } from "./config.ts";
import type { Digest } from "../tensor/digest.ts";

/** A weight bound to a range of a file. */
export interface Binding extends Weight {
  /** Path of the file, relative to the root of the plan. */
  readonly location: string;
  /** Offset in the file, in bytes. */
  readonly offset: number;
  /** Length in bytes. */
  readonly length: number;
}

/** Placeholder for the digest of a weight that is not hashed: the sha256 of no bytes. Caches skip such weights. */
export const ANONYMOUS: Digest = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/** The bindings of one method of a model: plain data, made before any file is opened. */
export interface LinkPlan {
  readonly model: string;
  readonly method: string;
  /** Digest of the program. */
  readonly program: Digest;
  readonly weights: readonly Binding[];
  /** Tensors that belong to the program but not to its file. */
  readonly constants: readonly Binding[];
}
