/**
 * Element types under the names of NumPy and ml_dtypes, with their width in bits.
 * Sub-byte elements fill each byte from the low bits; the last byte of a tensor may have unused bits.
 * The types of {@link BLOCK_ELEMENTS} follow, under ggml's names in lower case: their width is an average that includes
 * the scales.
 */
export const DTYPE_BITS = {
  bool: 8,
  int2: 2,
  uint2: 2,
  int4: 4,
  uint4: 4,
  int8: 8,
  uint8: 8,
  int16: 16,
  uint16: 16,
  int32: 32,
  uint32: 32,
  int64: 64,
  uint64: 64,
  float4_e2m1: 4,
  float6_e2m3: 6,
  float6_e3m2: 6,
  float8_e4m3fn: 8,
  float8_e4m3fnuz: 8,
  float8_e5m2: 8,
  float8_e5m2fnuz: 8,
  float8_e8m0: 8,
  float16: 16,
  bfloat16: 16,
  float32: 32,
  float64: 64,
  complex64: 64,
  complex128: 128,
  q1_0: 1.125,
  q2_0: 2.25,
  q4_0: 4.5,
  q4_1: 5,
  q5_0: 5.5,
  q5_1: 6,
  q8_0: 8.5,
  q8_1: 9,
  q2_k: 2.625,
  q3_k: 3.4375,
  q4_k: 4.5,
  q5_k: 5.5,
  q6_k: 6.5625,
  q8_k: 9.125,
  iq1_s: 1.5625,
  iq1_m: 1.75,
  iq2_xxs: 2.0625,
  iq2_xs: 2.3125,
  iq2_s: 2.5625,
  iq3_xxs: 3.0625,
  iq3_s: 3.4375,
  iq4_nl: 4.5,
  iq4_xs: 4.25,
  tq1_0: 1.6875,
  tq2_0: 2.0625,
  mxfp4: 4.25,
  nvfp4: 4.5,
} as const;

/** Element type of a tensor. Strings are not a DType: tensors of strings stay inside a program. */
export type DType = keyof typeof DTYPE_BITS;

/**
 * Number of elements in a block of ggml's quantized types; a block includes its scales. A row (the last dimension) is a
 * multiple of blocks, and a block has elements × {@link DTYPE_BITS} / 8 bytes.
 * Source: the block_* structures of ggml-common.h in llama.cpp.
 */
export const BLOCK_ELEMENTS: Readonly<Partial<Record<DType, number>>> = {
  q1_0: 128,
  q2_0: 64,
  q4_0: 32,
  q4_1: 32,
  q5_0: 32,
  q5_1: 32,
  q8_0: 32,
  q8_1: 32,
  q2_k: 256,
  q3_k: 256,
  q4_k: 256,
  q5_k: 256,
  q6_k: 256,
  q8_k: 256,
  iq1_s: 256,
  iq1_m: 256,
  iq2_xxs: 256,
  iq2_xs: 256,
  iq2_s: 256,
  iq3_xxs: 256,
  iq3_s: 256,
  iq4_nl: 32,
  iq4_xs: 256,
  tq1_0: 256,
  tq2_0: 256,
  mxfp4: 32,
  nvfp4: 64,
};

/** Whether a name is a DType. */
export function isDType(name: string): name is DType {
  return Object.hasOwn(DTYPE_BITS, name);
}

/**
 * Returns the number of elements of a shape; 1 for a scalar.
 * @returns `undefined` if a dimension is negative or no integer, or the product is not a safe integer
 */
export function elementCount(shape: readonly number[]): number | undefined {
  let count = 1;
  for (const dim of shape) {
    if (!Number.isSafeInteger(dim) || dim < 0) return undefined;
    // Check the product of the other dimensions of a shape with a zero too: an engine may multiply them first.
    count *= Math.max(1, dim);
    if (!Number.isSafeInteger(count)) return undefined;
  }
  return shape.includes(0) ? 0 : count;
}

/**
 * Returns the size of a dense tensor in bytes, rounded up.
 * @returns `undefined` for a shape without an {@link elementCount}, a size in bits that is not a safe integer, or rows
 * that are no multiple of blocks
 */
export function tensorBytes(dtype: DType, shape: readonly number[]): number | undefined {
  const count = elementCount(shape);
  if (count === undefined) return undefined;
  if ((shape.at(-1) ?? 1) % (BLOCK_ELEMENTS[dtype] ?? 1) !== 0) return undefined;
  const bits = count * DTYPE_BITS[dtype];
  return Number.isSafeInteger(bits) ? Math.ceil(bits / 8) : undefined;
}
