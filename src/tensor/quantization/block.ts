import { float16Bits, float16Value } from "../float16.ts";

/** One quantized type, block by block; layouts are those of ggml-common.h in llama.cpp. */
export interface Block {
  readonly elements: number;
  readonly bytes: number;
  /** Decodes the block at a byte offset to `elements` values from `to` on. */
  decode(bytes: Uint8Array, at: number, out: Float32Array, to: number): void;
  /**
   * Encodes `elements` finite values from `from` on.
   * @returns `false`, with nothing of use written, where a scale would be past the largest float16
   */
  readonly encode?: (values: Float32Array, from: number, out: Uint8Array, at: number) => boolean;
  /** The most by which decoded values may be off from the encoded ones, for the block that is given. */
  readonly bound?: (values: Float32Array) => number;
}

/** Bits of the first float16 that is none: infinity. */
const FLOAT16_INFINITY = 0x7c00;

/** What float32 arithmetic on the way may add to a bound, by the largest magnitude of a block. */
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
 * One over a scale as float32, as ggml has it; 0 for no scale. Also 0 where it is past float32: such a scale is 0 as
 * float16, and what ggml makes of the infinity depends on its compiler.
 */
export function inverseOf(scale: number): number {
  const inverse = Math.fround(1 / scale);
  return Number.isFinite(inverse) ? inverse : 0;
}
