import type { DType } from "../../tensor/dtype.ts";

/** Longest header that the reference implementation reads, in bytes, without the 8 bytes of its length. */
export const MAX_HEADER_LENGTH = 100_000_000;
/** Bytes of the length before the header: u64, little-endian. */
export const PREFIX = 8;
/** The only key of the header that is not a tensor: strings by name. */
export const METADATA = "__metadata__";

/**
 * Element types by their names in headers, in the order of the reference implementation. It writes tensors from the
 * last type to the first, so that every tensor is aligned to its elements.
 * Source: enum Dtype of safetensors 0.8. F4 and F6 shapes count elements, not bytes.
 */
export const DTYPES: ReadonlyMap<string, DType> = new Map([
  ["BOOL", "bool"],
  ["F4", "float4_e2m1"],
  ["F6_E2M3", "float6_e2m3"],
  ["F6_E3M2", "float6_e3m2"],
  ["U8", "uint8"],
  ["I8", "int8"],
  ["F8_E5M2", "float8_e5m2"],
  ["F8_E4M3", "float8_e4m3fn"],
  ["F8_E8M0", "float8_e8m0"],
  ["F8_E4M3FNUZ", "float8_e4m3fnuz"],
  ["F8_E5M2FNUZ", "float8_e5m2fnuz"],
  ["I16", "int16"],
  ["U16", "uint16"],
  ["F16", "float16"],
  ["BF16", "bfloat16"],
  ["I32", "int32"],
  ["U32", "uint32"],
  ["F32", "float32"],
  ["C64", "complex64"],
  ["F64", "float64"],
  ["I64", "int64"],
  ["U64", "uint64"],
]);
