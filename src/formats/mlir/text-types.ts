import { type DType, DTYPE_BITS, elementCount } from "../../tensor/dtype.ts";

/** The type of a tensor in a text. */
export interface TextType {
  /** As written. */
  readonly text: string;
  readonly shape: readonly number[];
  /** As written: `f32`, `i4`, `complex<f32>`. */
  readonly element: string;
  readonly bits: number;
  /** `undefined` for a type that tare does not have. */
  readonly dtype: DType | undefined;
}

const FLOATS: Readonly<Record<string, DType | number>> = {
  f16: "float16",
  bf16: "bfloat16",
  f32: "float32",
  tf32: 19,
  f64: "float64",
  f80: 80,
  f128: 128,
  f4E2M1FN: "float4_e2m1",
  f6E2M3FN: "float6_e2m3",
  f6E3M2FN: "float6_e3m2",
  f8E5M2: "float8_e5m2",
  f8E4M3: 8,
  f8E4M3FN: "float8_e4m3fn",
  f8E5M2FNUZ: "float8_e5m2fnuz",
  f8E4M3FNUZ: "float8_e4m3fnuz",
  f8E4M3B11FNUZ: 8,
  f8E3M4: 8,
  f8E8M0FNU: "float8_e8m0",
  index: 64,
  "complex<f32>": "complex64",
  "complex<f64>": "complex128",
};

/**
 * Parses `tensor<4x8xf32>` or `vector<…>`, with or without an encoding.
 * @returns `undefined` without a static shape, or for an element of unknown size
 */
export function parseTextType(text: string): TextType | undefined {
  const [, dims = "", rest = ""] = /^(?:tensor|vector)<((?:\d+x)*)([^,]+)(?:,.*)?>$/s.exec(text) ?? [];
  const element = rest.trim();
  const shape = dims.split("x").slice(0, -1).map(Number);
  const known = Object.hasOwn(FLOATS, element) ? FLOATS[element] : integerOf(element);
  if (known === undefined || elementCount(shape) === undefined) return undefined;
  const dtype = typeof known === "string" ? known : undefined;
  return { text, shape, element, bits: dtype ? DTYPE_BITS[dtype] : (known as number), dtype };
}

function integerOf(element: string): DType | number | undefined {
  const [, sign = "", width] = /^([su]?)i(\d{1,5})$/.exec(element) ?? [];
  if (width === undefined || Number(width) === 0) return undefined;
  // `i1` has one bit, and is stored in bits or in whole bytes.
  if (width === "1" && sign === "") return 1;
  const name = `${sign === "u" ? "uint" : "int"}${width}`;
  return Object.hasOwn(DTYPE_BITS, name) ? (name as DType) : Number(width);
}

/**
 * The lengths that a resource of a type may have, in bytes: each element in whole bytes, packed sub-byte elements, or
 * one element for all.
 */
export function allowedLengths({ shape, bits }: TextType): readonly number[] {
  const count = elementCount(shape) ?? 0;
  const each = 2 ** Math.max(0, Math.ceil(Math.log2(bits / 8)));
  const exact = Math.ceil(bits / 8);
  const lengths = [count * exact, count * each, exact, each];
  if (bits < 8) lengths.push(Math.ceil((count * bits) / 8));
  return [...new Set(lengths)];
}

/** The dtype and shape of a resource that is a plain tensor; `undefined` if it is packed, or one element for all. */
export function plainTensor(
  type: TextType | undefined,
  length: number,
): { readonly dtype: DType; readonly shape: readonly number[] } | undefined {
  if (!type) return undefined;
  const { shape, element, dtype } = type;
  const count = elementCount(shape) ?? 0;
  if (element === "i1" && count === length) return { dtype: "bool", shape };
  if (!dtype || DTYPE_BITS[dtype] % 8 !== 0 || (count * DTYPE_BITS[dtype]) / 8 !== length) return undefined;
  return { dtype, shape };
}
