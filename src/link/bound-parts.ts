import type { FileRange } from "../weights/locate-weight.ts";
import type { UrlRange } from "../weights/remote-weight.ts";
import type { WeightSource } from "../weights/weight-source.ts";
import type { OnnxProgram } from "./linked-program.ts";
import type { Digest } from "../tensor/digest.ts";
import type { DType } from "../tensor/dtype.ts";
import type { Binding } from "../model/link-plan.ts";

/** The place of a weight's bytes. */
export type Storage =
  /** A blob of the store, or part of one. */
  | ({ readonly kind: "blob" } & FileRange)
  /** Part of a file outside the store. */
  | ({ readonly kind: "file" } & FileRange)
  | ({ readonly kind: "url" } & UrlRange)
  /** Memory, or bytes that a file has only in encoded form; read on use. */
  | { readonly kind: "live"; readonly from: string };

/** A weight of a program, and its storage. */
export interface WeightBinding {
  readonly name: string;
  readonly dtype: DType;
  readonly shape: readonly number[];
  /** Size in bytes. */
  readonly length: number;
  /** `undefined` if unknown. */
  readonly digest: Digest | undefined;
  /** Name of the weight in its source. */
  readonly key: string;
  readonly storage: Storage;
}

/** The parts of a bound program. */
export interface BoundParts {
  /** Name of the program in errors. */
  readonly name: string;
  readonly method: string;
  readonly program: OnnxProgram;
  /** Digest of the program without its weights and constants. */
  readonly digest: Digest;
  readonly constants: readonly Binding[];
  /** Weights by the program's names. */
  readonly data: WeightSource;
  readonly bindings: readonly WeightBinding[];
  /** Closes the sources that were opened for it. */
  close(): Promise<void>;
}
