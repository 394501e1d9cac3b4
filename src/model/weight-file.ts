import type { Digest } from "../tensor/digest.ts";
import type { Location } from "./manifest.ts";

/** Layout of a file to write: a header, then weights of a store at given offsets, with zeros in between. */
export interface WeightFile {
  readonly header: Uint8Array;
  /** Offset of each weight in the file, in bytes, ascending. */
  readonly offsets: readonly number[];
  /** Size of the file in bytes, including padding at its end. */
  readonly size: number;
  readonly weights: readonly { readonly digest: Digest; readonly from: Location }[];
}
