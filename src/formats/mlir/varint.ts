/**
 * Encodes a number as MLIR's varint: the low zero bits of the first byte count the bytes after it.
 * @param value whole, from 0 to 2^53 - 1
 */
export function encodePrefixVarint(value: number): Uint8Array {
  for (let length = 1; length < 8; length++) {
    if (value >= 2 ** (7 * length)) continue;
    // The value and the mark below it, as a `bigint`, since both together may pass 2^53.
    const bits = (BigInt(value) * 2n + 1n) << BigInt(length - 1);
    return Uint8Array.from({ length }, (_, index) => Number((bits >> BigInt(8 * index)) & 0xffn));
  }
  const bits = (BigInt(value) * 2n + 1n) << 7n;
  return Uint8Array.from({ length: 8 }, (_, index) => Number((bits >> BigInt(8 * index)) & 0xffn));
}
