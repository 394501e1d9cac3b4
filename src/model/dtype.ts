/**
 * Element types, under the names NumPy and ml_dtypes use, with their width in bits.
 * Sub-byte elements are packed from the low bits up; a tensor's last byte may be part empty.
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
} as const;

/** Type of a tensor's elements. Strings are not among them: they never leave the program. */
export type DType = keyof typeof DTYPE_BITS;

/** Narrows a name read from a file. */
export function isDType(name: string): name is DType {
  return Object.hasOwn(DTYPE_BITS, name);
}

/**
 * Number of elements; 1 for a scalar.
 * @returns `undefined` if a dimension is negative or not whole, or the product is not a safe integer
 */
export function elementCount(shape: readonly number[]): number | undefined {
  let count = 1;
  for (const dim of shape) {
    if (!Number.isSafeInteger(dim) || dim < 0) return undefined;
    // A zero does not excuse the other dimensions, wherever it stands: engines multiply in an order of their own.
    count *= Math.max(1, dim);
    if (!Number.isSafeInteger(count)) return undefined;
  }
  return shape.includes(0) ? 0 : count;
}

/**
 * Bytes a dense tensor takes, rounded up to whole bytes.
 * @returns `undefined` where {@link elementCount} is, or where the size in bits is not a safe integer
 */
export function tensorBytes(dtype: DType, shape: readonly number[]): number | undefined {
  const count = elementCount(shape);
  if (count === undefined) return undefined;
  const bits = count * DTYPE_BITS[dtype];
  return Number.isSafeInteger(bits) ? Math.ceil(bits / 8) : undefined;
}
