/** How many bits of a 16-bit float go to its exponent and its mantissa; the remaining one is the sign. */
interface Layout {
  readonly exponent: number;
  readonly mantissa: number;
}

const FLOAT16: Layout = { exponent: 5, mantissa: 10 };
const BFLOAT16: Layout = { exponent: 8, mantissa: 7 };
/** What a float16's lowest bit is worth, by exponent field. */
const FLOAT16_STEPS = Float64Array.from({ length: 32 }, (_, field) =>
  field === 31 ? Number.POSITIVE_INFINITY : 2 ** (Math.max(1, field) - 25),
);

/**
 * Value of an IEEE 754 binary16 bit pattern; exact.
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
 * Value of a bfloat16 bit pattern (the upper half of a float32); exact.
 * @param bits 0 to 65535
 */
export function bfloat16Value(bits: number): number {
  return decode(bits, BFLOAT16);
}

/** Bit pattern of the nearest IEEE 754 binary16, ties to even; from 65520 up it is infinity. */
export function float16Bits(value: number): number {
  return encode(value, FLOAT16);
}

/** Bit pattern of the nearest bfloat16, ties to even; past the largest one it is infinity. */
export function bfloat16Bits(value: number): number {
  return encode(value, BFLOAT16);
}

/**
 * Widens little-endian float16 elements; exact, and a NaN keeps its sign and payload.
 * @param bytes two a element, at any alignment
 * @throws RangeError if the length is odd
 */
export function float16ToFloat32(bytes: Uint8Array): Float32Array {
  const out = new Float32Array(elements(bytes));
  widenFloat16(bytes, out);
  return out;
}

/** {@link float16ToFloat32} into memory that is there: `out.length` elements are read. */
export function widenFloat16(bytes: Uint8Array, out: Float32Array): void {
  const words = wordsOf(out);
  for (let index = 0; index < words.length; index++) {
    const half = (bytes[2 * index] as number) | ((bytes[2 * index + 1] as number) << 8);
    words[index] = ((half & 0x8000) << 16) | float32Magnitude(half & 0x7fff);
  }
}

/**
 * Widens little-endian bfloat16 elements; exact, and a NaN keeps its sign and payload.
 * @param bytes two a element, at any alignment
 * @throws RangeError if the length is odd
 */
export function bfloat16ToFloat32(bytes: Uint8Array): Float32Array {
  const out = new Float32Array(elements(bytes));
  widenBfloat16(bytes, out);
  return out;
}

/** {@link bfloat16ToFloat32} into memory that is there: `out.length` elements are read. */
export function widenBfloat16(bytes: Uint8Array, out: Float32Array): void {
  const words = wordsOf(out);
  for (let index = 0; index < words.length; index++) {
    words[index] = ((bytes[2 * index] as number) << 16) | ((bytes[2 * index + 1] as number) << 24);
  }
}

/**
 * Rounds to little-endian float16 elements, nearest, ties to even. A NaN stays one (quiet, with its sign and the upper
 * bits of its payload); from 65520 up it is infinity.
 * @param out two bytes a value, at any alignment
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
 * Rounds to little-endian bfloat16 elements, nearest, ties to even. A NaN stays one (quiet, with its sign and the upper
 * bits of its payload); what is past the largest one is infinity.
 * @param out two bytes a value, at any alignment
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
  if (bytes.byteLength % 2 !== 0) throw new RangeError(`${bytes.byteLength} bytes are no 16-bit floats`);
  return bytes.byteLength / 2;
}

function wordsOf(values: Float32Array): Uint32Array {
  return new Uint32Array(values.buffer, values.byteOffset, values.length);
}

/** Bits of the float16, without sign, that a float32 rounds to; given are its bits without sign, and its value. */
function float16Magnitude(word: number, value: number): number {
  if (word > 0x7f800000) return 0x7e00 | ((word >>> 13) & 0x3ff);
  if (word >= 0x47800000) return 0x7c00;
  // Exponents are rebased, and what is dropped is rounded: its carry may go into the exponent, up to infinity.
  if (word >= 0x38800000) return (word - (112 << 23) + 0xfff + ((word >>> 13) & 1)) >>> 13;
  return roundToEven(Math.abs(value) * 2 ** 24);
}

/** Bits of the float32 that a float16 without its sign is. */
function float32Magnitude(half: number): number {
  const mantissa = half & 0x3ff;
  if (half >= 0x7c00) return 0x7f800000 | (mantissa << 13);
  // 112 is the difference of the exponents' biases, 127 and 15.
  if (half >= 0x400) return (half << 13) + (112 << 23);
  if (mantissa === 0) return 0;
  // A subnormal of float16 is normal in float32: its leading one moves to where it is implied.
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

/** Rounds the double itself: by way of float32 some values would be rounded twice. */
function encode(value: number, { exponent, mantissa }: Layout): number {
  const bias = 2 ** (exponent - 1) - 1;
  const infinity = (2 ** exponent - 1) << mantissa;
  if (Number.isNaN(value)) return infinity | (1 << (mantissa - 1));
  const sign = value < 0 || Object.is(value, -0) ? 0x8000 : 0;
  const size = Math.abs(value);
  if (size >= 2 ** (bias + 1)) return sign | infinity;
  // Subnormals share the smallest exponent. One that rounds up to normal is right as it stands: its carry
  // falls into the exponent, as does that of a mantissa that rounds up to 2.
  const power = Math.max(floorLog2(size), 1 - bias);
  const scaled = roundToEven(size * 2 ** (mantissa - power));
  return sign | (((power + bias - 1) << mantissa) + scaled);
}

/** Exponent of the largest power of two that is not above a value; `-Infinity` for 0. */
function floorLog2(value: number): number {
  const guess = Math.floor(Math.log2(value));
  // Math.log2 may round across a power of two.
  if (2 ** guess > value) return guess - 1;
  return 2 ** (guess + 1) <= value ? guess + 1 : guess;
}

/** For 0 ≤ value < 2^52: adding 2^52 leaves no room for a fraction, and the hardware rounds ties to even. */
function roundToEven(value: number): number {
  return value + 2 ** 52 - 2 ** 52;
}
