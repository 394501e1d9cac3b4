/** Number of exponent and mantissa bits of a 16-bit float; the remaining bit is the sign. */
interface Layout {
  readonly exponent: number;
  readonly mantissa: number;
}

const FLOAT16: Layout = { exponent: 5, mantissa: 10 };
const BFLOAT16: Layout = { exponent: 8, mantissa: 7 };
/** Value of the lowest mantissa bit of a float16, by exponent field. */
const FLOAT16_STEPS = Float64Array.from({ length: 32 }, (_, field) =>
  field === 31 ? Number.POSITIVE_INFINITY : 2 ** (Math.max(1, field) - 25),
);

/**
 * Decodes an IEEE 754 binary16 bit pattern; exact.
 * @param bits 0 to 65535
 */
export function float16Value(bits: number): number {
  const field = (bits >> 10) & 0x1f;
  const mantissa = bits & 0x3ff;
  if (field === 0x1f && mantissa !== 0) return Number.NaN;
  const size = (field === 0 ? mantissa : mantissa | 0x400) * (FLOAT16_STEPS[field] as number);
  return bits & 0x8000 ? -size : size;
}

/**
 * Decodes a bfloat16 bit pattern (the upper 16 bits of a float32); exact.
 * @param bits 0 to 65535
 */
export function bfloat16Value(bits: number): number {
  return decode(bits, BFLOAT16);
}

/** Encodes a number as the nearest IEEE 754 binary16, ties to even; infinity from 65520 up. Returns its bit pattern. */
export function float16Bits(value: number): number {
  return encode(value, FLOAT16);
}

/** Encodes a number as the nearest bfloat16, ties to even; infinity above the largest one. Returns its bit pattern. */
export function bfloat16Bits(value: number): number {
  return encode(value, BFLOAT16);
}

/**
 * Widens little-endian float16 elements; exact, and a NaN keeps its sign and payload.
 * @param bytes two for each element, at any alignment
 * @throws RangeError if the length is odd
 */
export function float16ToFloat32(bytes: Uint8Array): Float32Array {
  const out = new Float32Array(elements(bytes));
  widenFloat16(bytes, out);
  return out;
}

/** Widens `out.length` float16 elements into `out`, as {@link float16ToFloat32} does. */
export function widenFloat16(bytes: Uint8Array, out: Float32Array): void {
  const words = wordsOf(out);
  for (let index = 0; index < words.length; index++) {
    const half = (bytes[2 * index] as number) | ((bytes[2 * index + 1] as number) << 8);
    words[index] = ((half & 0x8000) << 16) | float32Magnitude(half & 0x7fff);
  }
}

/**
 * Widens little-endian bfloat16 elements; exact, and a NaN keeps its sign and payload.
 * @param bytes two for each element, at any alignment
 * @throws RangeError if the length is odd
 */
export function bfloat16ToFloat32(bytes: Uint8Array): Float32Array {
  const out = new Float32Array(elements(bytes));
  widenBfloat16(bytes, out);
  return out;
}

/** Widens `out.length` bfloat16 elements into `out`, as {@link bfloat16ToFloat32} does. */
export function widenBfloat16(bytes: Uint8Array, out: Float32Array): void {
  const words = wordsOf(out);
  for (let index = 0; index < words.length; index++) {
    words[index] = ((bytes[2 * index] as number) << 16) | ((bytes[2 * index + 1] as number) << 24);
  }
}

/**
 * Rounds values to the nearest little-endian float16 elements, ties to even. A NaN stays a quiet NaN with its sign and
 * the upper bits of its payload; values from 65520 up become infinity.
 * @param out two bytes for each value, at any alignment
 */
export function narrowFloat16(values: Float32Array, out: Uint8Array): void {
  const words = wordsOf(values);
  for (let index = 0; index < words.length; index++) {
    const word = words[index] as number;
    const half = ((word >>> 16) & 0x8000) | float16Magnitude(word & 0x7fffffff, values[index] as number);
    out[2 * index] = half;
    out[2 * index + 1] = half >> 8;
  }
}

/**
 * Rounds values to the nearest little-endian bfloat16 elements, ties to even. A NaN stays a quiet NaN with its sign and
 * the upper bits of its payload; values above the largest bfloat16 become infinity.
 * @param out two bytes for each value, at any alignment
 */
export function narrowBfloat16(values: Float32Array, out: Uint8Array): void {
  const words = wordsOf(values);
  for (let index = 0; index < words.length; index++) {
    const word = words[index] as number;
    const upper =
      (word & 0x7fffffff) > 0x7f800000 ? (word >>> 16) | 0x40 : (word + 0x7fff + ((word >>> 16) & 1)) >>> 16;
    out[2 * index] = upper;
    out[2 * index + 1] = upper >> 8;
  }
}

function elements(bytes: Uint8Array): number {
  if (bytes.byteLength % 2 !== 0)
    throw new RangeError(`Cannot widen ${bytes.byteLength} bytes: 16-bit floats take an even number`);
  return bytes.byteLength / 2;
}

function wordsOf(values: Float32Array): Uint32Array {
  return new Uint32Array(values.buffer, values.byteOffset, values.length);
}

/**
 * Rounds a float32 to a float16, without the sign.
 * @param word bits of the float32 without its sign
 * @param value the same float32 as a number
 * @returns bits of the float16 without its sign
 */
function float16Magnitude(word: number, value: number): number {
  if (word > 0x7f800000) return 0x7e00 | ((word >>> 13) & 0x3ff);
  if (word >= 0x47800000) return 0x7c00;
  // Rebase the exponent and round the dropped bits; the carry may increase the exponent, up to infinity.
  if (word >= 0x38800000) return (word - (112 << 23) + 0xfff + ((word >>> 13) & 1)) >>> 13;
  return roundToEven(Math.abs(value) * 2 ** 24);
}

/** Returns the bits of the float32 that equals a float16 without its sign. */
function float32Magnitude(half: number): number {
  const mantissa = half & 0x3ff;
  if (half >= 0x7c00) return 0x7f800000 | (mantissa << 13);
  // 112 is the difference of the exponents' biases, 127 and 15.
  if (half >= 0x400) return (half << 13) + (112 << 23);
  if (mantissa === 0) return 0;
  // A subnormal float16 is a normal float32: shift its leading one to the implied position.
  const shift = Math.clz32(mantissa) - 21;
  return ((113 - shift) << 23) | ((mantissa << (13 + shift)) & 0x7fffff);
}

function decode(bits: number, { exponent, mantissa }: Layout): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const field = (bits & 0x7fff) >> mantissa;
  const fraction = (bits & (2 ** mantissa - 1)) / 2 ** mantissa;
  const bias = 2 ** (exponent - 1) - 1;
  if (field === 2 ** exponent - 1) return fraction === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
  return sign * (field === 0 ? fraction * 2 ** (1 - bias) : (1 + fraction) * 2 ** (field - bias));
}

/** Rounds a double directly: with float32 in between some values would be rounded twice. */
function encode(value: number, { exponent, mantissa }: Layout): number {
  const bias = 2 ** (exponent - 1) - 1;
  const infinity = (2 ** exponent - 1) << mantissa;
  if (Number.isNaN(value)) return infinity | (1 << (mantissa - 1));
  const sign = value < 0 || Object.is(value, -0) ? 0x8000 : 0;
  const size = Math.abs(value);
  if (size >= 2 ** (bias + 1)) return sign | infinity;
  // Subnormals share the smallest exponent. A subnormal that rounds up to a normal number needs no
  // correction: the carry increases the exponent, like the carry of a mantissa that rounds up to 2.
  const power = Math.max(floorLog2(size), 1 - bias);
  const scaled = roundToEven(size * 2 ** (mantissa - power));
  return sign | (((power + bias - 1) << mantissa) + scaled);
}

/** Returns the exponent of the largest power of two that is not above a value; `-Infinity` for 0. */
function floorLog2(value: number): number {
  const guess = Math.floor(Math.log2(value));
  // Math.log2 may round across a power of two.
  if (2 ** guess > value) return guess - 1;
  return 2 ** (guess + 1) <= value ? guess + 1 : guess;
}

/** Rounds 0 ≤ value < 2^52, ties to even: doubles from 2^52 on have no fraction, so the hardware rounds the sum. */
function roundToEven(value: number): number {
  return value + 2 ** 52 - 2 ** 52;
}
