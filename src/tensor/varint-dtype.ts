import type { VarintArray } from "../io/varint-array.ts";
import { DTYPE_BITS, type DType } from "./dtype.ts";

/** Dtypes whose varints are sign-extended; all others are encoded as unsigned bit patterns. */
const SIGNED: readonly DType[] = ["int8", "int16", "int32", "int64"];

/** Returns the varint encoding of a dtype's elements. Sub-byte elements are encoded as the bytes that contain them. */
export function varintArrayOf(dtype: DType): VarintArray {
  const width = Math.max(1, DTYPE_BITS[dtype] / 8) as VarintArray["width"];
  return { width, signed: SIGNED.includes(dtype) };
}
