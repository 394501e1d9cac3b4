import type { VarintArray } from "../io/varint-array.ts";
import { DTYPE_BITS, type DType } from "./dtype.ts";

/** Bit patterns are spelled as unsigned numbers; only the signed integer types extend their sign. */
const SIGNED: readonly DType[] = ["int8", "int16", "int32", "int64"];

/** How a dtype's elements are spelled as protobuf varints; sub-byte elements go by packed bytes. */
export function varintArrayOf(dtype: DType): VarintArray {
  const width = Math.max(1, DTYPE_BITS[dtype] / 8) as VarintArray["width"];
  return { width, signed: SIGNED.includes(dtype) };
}
