import type { DType } from "../../tensor/dtype.ts";

/** First bytes of every .npy file, before its version. */
export const MAGIC: Uint8Array = Uint8Array.of(0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59);

/** End of an array's file name in an archive. */
export const SUFFIX = ".npy";

/** The type codes of `numpy.dtype.str` without their byte order: kind, then bytes per element. */
const CODES: Partial<Record<DType, string>> = {
  bool: "b1",
  int8: "i1",
  int16: "i2",
  int32: "i4",
  int64: "i8",
  uint8: "u1",
  uint16: "u2",
  uint32: "u4",
  uint64: "u8",
  float16: "f2",
  float32: "f4",
  float64: "f8",
  complex64: "c8",
  complex128: "c16",
};

const DTYPES = new Map(Object.entries(CODES).map(([dtype, code]) => [code, dtype as DType]));

/** The dtype of a type code without its byte order, such as `f4`; `undefined` for an unknown code. */
export function dtypeOfCode(code: string): DType | undefined {
  return DTYPES.get(code);
}

/** NumPy's name for a little-endian dtype, such as `<f4`; `undefined` if NumPy has no such type. */
export function descrOf(dtype: DType): string | undefined {
  const code = CODES[dtype];
  return code && (code.endsWith("1") ? "|" : "<") + code;
}
