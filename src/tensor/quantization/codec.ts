/** Converts elements of one dtype to float32, and back, in whole blocks. */
export interface Codec {
  /** Elements in a block; 1 for plain floats. */
  readonly blockElements: number;
  /** Bytes of a block. */
  readonly blockBytes: number;
  /**
   * Decodes whole blocks to float32: `out.length === bytes.length / blockBytes * blockElements`. The values are those
   * of ggml, bit for bit, except for the payload of NaNs.
   * @param bytes little-endian, at any alignment
   * @throws RangeError if the lengths do not match
   */
  decode(bytes: Uint8Array, out: Float32Array): void;
  /**
   * Encodes whole blocks; `undefined` if tare only decodes the dtype. Each value is rounded once. Plain floats keep
   * infinities and NaNs.
   * @throws FormatError `out-of-range`, which names the element but not the tensor, for NaN and infinity in a block,
   * for magnitudes beyond its float16 scale, and for plain floats that would become infinity. `out` may then be partly
   * written.
   * @throws RangeError if the lengths do not match
   */
  readonly encode?: (values: Float32Array, out: Uint8Array) => void;
  /**
   * The largest absolute error of a decoded value, for one block of the input of {@link encode}. If the largest
   * magnitude in the block is A, it is at most float16 A/2048 + 2^-25, bfloat16 A/256 + 2^-134, q4_0 A/7.9 + 2^-22,
   * q5_0 A/15.8 + 2^-21, q4_1 A/14.5 + 2^-21, q5_1 A/29 + 2^-20, q8_0 A/225 + 2^-18, q4_k A/9.7 + 2^-24, q5_k A/20 +
   * 2^-24, q6_k A/41 + 2^-24; float32 is exact. The small powers of two are the loss if a float16 scale is subnormal,
   * or 0.
   */
  readonly bound?: (block: Float32Array) => number;
}
