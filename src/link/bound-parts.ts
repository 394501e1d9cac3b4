import type { FileRange } from "../weights/locate-weight.ts";
import type { UrlRange } from "../weights/remote-weight.ts";
import type { WeightSource } from "../weights/weight-source.ts";
import type { OnnxProgram } from "./linked-program.ts";
import type { Digest } from "../tensor/digest.ts";
import type { DType } from "../tensor/dtype.ts";
import type { Binding } from "../model/link-plan.ts";

/** Where a weight is. */
export type Storage =
  /** A blob of the store, or part of one. */
  | ({ readonly kind: "blob" } & FileRange)
  /** Part of a file that is not the store's. */
  | ({ readonly kind: "file" } & FileRange)
  | ({ readonly kind: "url" } & UrlRange)
  /** Read when it is asked for: memory, or bytes that a file encodes. */
  | { readonly kind: "live"; readonly from: string };

/** A weight of a program, and where it is. */
export interface WeightBinding {
  readonly name: string;
  readonly dtype: DType;
  readonly shape: readonly number[];
  /** In bytes. */
  readonly length: number;
  /** `undefined` where it is not known. */
  readonly digest: Digest | undefined;
  /** Its name there. */
  readonly key: string;
  readonly storage: Storage;
}

/** What a program is made of. */
export interface BoundParts {
  /** How errors call it. */
  readonly name: string;
  readonly method: string;
  readonly program: OnnxProgram;
  /** Says all that the program is without its weights, and constants that are not in it. */
  readonly digest: Digest;
  readonly constants: readonly Binding[];
  /** Weights by the program's names. */
  readonly data: WeightSource;
  readonly bindings: readonly WeightBinding[];
  /** Closes what was opened for it. */
  close(): Promise<void>;
}
