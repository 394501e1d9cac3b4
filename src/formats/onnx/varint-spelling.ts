import type { ByteSource, ReadOptions } from "../../io/byte-source.ts";
import type { VarintArray } from "../../io/varint-array.ts";
import type { DType } from "../../tensor/dtype.ts";
import { varintArrayOf } from "../../tensor/varint-dtype.ts";

/** Bytes read at a time: nearly always the first has a varint of several bytes. */
const WINDOW = 4096;
/** Bytes of a varint that was sign-extended to 64 bits. */
const EXTENDED_BYTES = 10;

/**
 * Finds how a tensor's varints spell its elements. Packed signed elements of 4 or 2 bits are bytes from 0 to 255, which
 * ONNX 1.16 sign-extends: the first varint of several bytes tells. Both kinds in one tensor are refused when it is read.
 */
export async function varintSpelling(
  source: ByteSource,
  { offset, length }: { readonly offset: number; readonly length: number },
  dtype: DType,
  options: ReadOptions = {},
): Promise<VarintArray> {
  const array = varintArrayOf(dtype);
  if (dtype !== "int4" && dtype !== "int2") return array;
  const end = offset + length;
  for (let at = offset; at < end; ) {
    const bytes = await source.read(at, Math.min(WINDOW, end - at), options);
    const first = bytes.findIndex((byte) => byte >= 0x80);
    if (first < 0) at += bytes.byteLength;
    else if (first > 0 && bytes.byteLength - first < EXTENDED_BYTES && at + bytes.byteLength < end)
      at += first;
    else {
      const varint = bytes.subarray(first, first + EXTENDED_BYTES);
      return { ...array, signed: varint.findIndex((byte) => byte < 0x80) === EXTENDED_BYTES - 1 };
    }
  }
  return array;
}
