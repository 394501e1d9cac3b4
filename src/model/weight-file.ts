import type { Digest } from "../tensor/digest.ts";
import type { Location } from "./manifest.ts";

/** A file to make: a header, and weights of a store at given places behind it; what lies between is zeros. */
export interface WeightFile {
  readonly header: Uint8Array;
  /** Where each weight is to start, in bytes from the start of the file, in order. */
  readonly offsets: readonly number[];
  /** Size of the whole file in bytes, padding at its end included. */
  readonly size: number;
  readonly weights: readonly { readonly digest: Digest; readonly from: Location }[];
}
