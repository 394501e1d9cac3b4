/** How many bits of a 16-bit float go to its exponent and its mantissa; the remaining one is the sign. */
interface Layout {
  readonly exponent: number;
  readonly mantissa: number;
}

const FLOAT16: Layout = { exponent: 5, mantissa: 10 };
const BFLOAT16: Layout = { exponent: 8, mantissa: 7 };

/**
 * Value of an IEEE 754 binary16 bit pattern; exact.
 * @param bits 0 to 65535
 */
export function float16Value(bits: number): number {
  return decode(bits, FLOAT16);
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
export function halfToFloat32(bytes: Uint8Array): Float32Array {
  const words = new Uint32Array(elements(bytes));
  for (let index = 0; index < words.length; index++) {
    const half = (bytes[2 * index] as number) | ((bytes[2 * index + 1] as number) << 8);
    words[index] = ((half & 0x8000) << 16) | float32Magnitude(half & 0x7fff);
  }
  return new Float32Array(words.buffer);
}

/**
 * Widens little-endian bfloat16 elements; exact, and a NaN keeps its sign and payload.
 * @param bytes two a element, at any alignment
 * @throws RangeError if the length is odd
 */
export function bfloat16ToFloat32(bytes: Uint8Array): Float32Array {
  const words = new Uint32Array(elements(bytes));
  for (let index = 0; index < words.length; index++) {
    words[index] = ((bytes[2 * index] as number) << 16) | ((bytes[2 * index + 1] as number) << 24);
  }
  return new Float32Array(words.buffer);
}

function elements(bytes: Uint8Array): number {
  if (bytes.byteLength % 2 !== 0) throw new RangeError(`${bytes.byteLength} bytes are no 16-bit floats`);
  return bytes.byteLength / 2;
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
