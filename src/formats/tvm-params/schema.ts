import type { DType } from "../../tensor/dtype.ts";

/** What a file of named arrays starts with. */
export const LIST_MAGIC = 0xf7e58d4f05049cb7n;
/** What each array starts with. */
export const ARRAY_MAGIC = 0xdd5e40f096b4a13fn;
/** DLPack's number of the device that saved arrays are on. */
export const CPU = 1;
/** Of the magic numbers and what is reserved after them, in bytes. */
export const PREFIX = 16;
/** Of an array before its shape, in bytes: magic, reserved, device, number of dimensions, type. */
export const ARRAY_FIXED = 32;
/** NumPy's own limit; compilers use far fewer. */
export const MAX_DIMENSIONS = 64;
/** Several million names, in bytes; more is no list of parameters. */
export const MAX_NAMES_LENGTH: number = 128 * 1024 * 1024;

/** The type of an array's elements, as DLPack says it. */
export interface DLType {
  readonly code: number;
  readonly bits: number;
  readonly lanes: number;
}

/**
 * Types by DLPack's code and bits, the first of two is the one to write.
 * Source: DLDataTypeCode of DLPack 1.1. Types of less than a byte are not among them: TVM saves a byte an element.
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

/** The dtype that a type is; `undefined` for those that are kept as bytes. */
export function dtypeOfType({ code, bits, lanes }: DLType): DType | undefined {
  return lanes === 1 ? TYPES.find((each) => each[0] === code && each[1] === bits)?.[2] : undefined;
}

/** How arrays of a dtype are saved; `undefined` for what DLPack has not, or packs otherwise. */
export function typeOfDType(dtype: DType): DLType | undefined {
  const found = TYPES.find((each) => each[2] === dtype);
  return found && { code: found[0], bits: found[1], lanes: 1 };
}

/** Bytes of that many elements. */
export function bytesOf({ bits, lanes }: DLType, count: number): number {
  return Math.ceil((bits * lanes) / 8) * count;
}
