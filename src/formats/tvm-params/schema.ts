import type { DType } from "../../tensor/dtype.ts";

/** First bytes of a file of named arrays. */
export const LIST_MAGIC = 0xf7e58d4f05049cb7n;
/** First bytes of each array. */
export const ARRAY_MAGIC = 0xdd5e40f096b4a13fn;
/** DLPack's number of the device of saved arrays. */
export const CPU = 1;
/** Bytes of a magic number and the reserved number after it. */
export const PREFIX = 16;
/** Bytes of an array before its shape: magic number, reserved number, device, number of dimensions, type. */
export const ARRAY_FIXED = 32;
/** NumPy's limit. Compilers use far fewer. */
export const MAX_DIMENSIONS = 64;
/** Longest list of names, in bytes: enough for several million. */
export const MAX_NAMES_LENGTH: number = 128 * 1024 * 1024;

/** DLPack's type of an array's elements. */
export interface DLType {
  readonly code: number;
  readonly bits: number;
  readonly lanes: number;
}

/**
 * Dtypes by DLPack's code and bits. If a dtype has two, the first is written.
 * Source: DLDataTypeCode of DLPack 1.1. Sub-byte types are left out: TVM saves a byte per element.
 */
const TYPES: readonly (readonly [code: number, bits: number, dtype: DType])[] = [
  [0, 8, "int8"],
  [0, 16, "int16"],
  [0, 32, "int32"],
  [0, 64, "int64"],
  [1, 8, "uint8"],
  [1, 16, "uint16"],
  [1, 32, "uint32"],
  [1, 64, "uint64"],
  [2, 16, "float16"],
  [2, 32, "float32"],
  [2, 64, "float64"],
  [4, 16, "bfloat16"],
  [5, 64, "complex64"],
  [5, 128, "complex128"],
  [6, 8, "bool"],
  [1, 1, "bool"],
  [10, 8, "float8_e4m3fn"],
  [11, 8, "float8_e4m3fnuz"],
  [12, 8, "float8_e5m2"],
  [13, 8, "float8_e5m2fnuz"],
  [14, 8, "float8_e8m0"],
];

/** The dtype of a type; `undefined` for a type that is kept as plain bytes. */
export function dtypeOfType({ code, bits, lanes }: DLType): DType | undefined {
  return lanes === 1 ? TYPES.find((each) => each[0] === code && each[1] === bits)?.[2] : undefined;
}

/** The type of a dtype; `undefined` for a dtype that DLPack does not have, or packs in another way. */
export function typeOfDType(dtype: DType): DLType | undefined {
  const found = TYPES.find((each) => each[2] === dtype);
  return found && { code: found[0], bits: found[1], lanes: 1 };
}

/** Bytes of so many elements. */
export function bytesOf({ bits, lanes }: DLType, count: number): number {
  return Math.ceil((bits * lanes) / 8) * count;
}
