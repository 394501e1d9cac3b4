import { float16Bits, float16Value } from "../float16.ts";

/** One quantized type, block by block; layouts are those of ggml-common.h in llama.cpp. */
export interface Block {
  readonly elements: number;
  readonly bytes: number;
  /** Decodes the block at a byte offset to `elements` values from `to` on. */
  decode(bytes: Uint8Array, at: number, out: Float32Array, to: number): void;
  /**
   * Encodes `elements` finite values from `from` on.
   * @returns `false`, with undefined output, if a scale would be past the largest float16
   */
  readonly encode?: (values: Float32Array, from: number, out: Uint8Array, at: number) => boolean;
  /** The largest absolute error of decoded values, for the given block. */
  readonly bound?: (values: Float32Array) => number;
}

/** Bits of the float16 infinity. */
const FLOAT16_INFINITY = 0x7c00;

/** The error that float32 arithmetic may add to a bound, relative to the largest magnitude of a block. */
export const ARITHMETIC: number = 2 ** -20;

/** Value of the little-endian float16 at an offset. */
export function float16At(bytes: Uint8Array, at: number): number {
  return float16Value((bytes[at] as number) | ((bytes[at + 1] as number) << 8));
}

/**
 * Writes the nearest float16.
 * @returns whether it is finite
 */
export function setFloat16(out: Uint8Array, at: number, value: number): boolean {
  const bits = float16Bits(value);
  out[at] = bits;
  out[at + 1] = bits >> 8;
  return (bits & 0x7fff) < FLOAT16_INFINITY;
}

/** Nearest float16 of a value. */
export function nearestFloat16(value: number): number {
  return float16Value(float16Bits(value));
}

/** Smallest float16 that is not below a value; for values from 0 up. */
export function float16Above(value: number): number {
  const bits = float16Bits(value);
  const nearest = float16Value(bits);
  return nearest < value ? float16Value(bits + 1) : nearest;
}

/** Largest magnitude of some values. */
export function magnitude(values: Float32Array): number {
  let largest = 0;
  for (const value of values) largest = Math.max(largest, Math.abs(value));
  return largest;
}

/**
 * One over a scale as float32, as in ggml; 0 for a scale of 0. Also 0 if it overflows float32: such a scale is 0 as
 * float16, and ggml's result for the infinity depends on its compiler.
 */
export function inverseOf(scale: number): number {
  const inverse = Math.fround(1 / scale);
  return Number.isFinite(inverse) ? inverse : 0;
}
