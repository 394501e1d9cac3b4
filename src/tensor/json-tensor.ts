import { type ErrorCode, FormatError } from "../errors.ts";
import { type DType, DTYPE_BITS, elementCount, tensorBytes } from "./dtype.ts";
import { JSON_NUMBERS, type JsonNumber, type JsonProblem } from "./json-number.ts";
import type { Tensor, Tensors } from "./tensor.ts";

/** A tensor as nested arrays, the last dimension innermost; a scalar is a value without an array. */
export type JsonTensor = number | string | boolean | readonly JsonTensor[];

/** The limit of NumPy; it also bounds the recursion. */
const MAX_RANK = 64;
/** Bounds the number of arrays: a shape such as [10^12, 0] has no elements, but many empty arrays. */
const MAX_ARRAYS = 2 ** 24;

type Refuse = (code: ErrorCode, reason: string, hint?: string) => FormatError;

/**
 * Makes a tensor from nested JSON arrays, or from a single value. The nesting gives the shape: `[]` has the shape [0].
 * Floats are rounded to the nearest, ties to even, and may be "NaN", "Infinity" and "-Infinity"; int64 and uint64
 * are integers or, past 2^53, decimal strings; bool is true or false.
 * @param value result of `JSON.parse`
 * @param name name of the tensor, for errors
 * @throws FormatError `malformed` for ragged arrays and values of another kind, `out-of-range` for numbers that
 * outside of the range of the dtype, `unsupported` for dtypes without a JSON form (complex, float8, int4, …),
 * `too-large`
 */
export function tensorFromJson(value: unknown, dtype: DType | "string", name: string): Tensor {
  const refuse: Refuse = (code, reason, hint) =>
    new FormatError(code, `Cannot read tensor "${name}": ${reason}`, { tensor: name, hint });
  const kind = dtype === "string" ? undefined : numbersOf(dtype, refuse);
  const shape = shapeOf(value, refuse);
  const elements = flatten(value, shape, refuse);
  const reject = (problem: JsonProblem, index: number): FormatError =>
    refuse(
      problem,
      `${format(elements[index])} at [${indexOf(index, shape)}] is not a valid ${dtype}`,
      hintFor(dtype),
    );
  if (dtype === "string" || !kind) {
    const odd = elements.findIndex((element) => typeof element !== "string");
    if (odd >= 0) throw reject("malformed", odd);
    return { dtype: "string", shape, strings: elements as string[] };
  }
  const width = DTYPE_BITS[dtype] / 8;
  const bytes = new Uint8Array(elements.length * width);
  const view = new DataView(bytes.buffer);
  elements.forEach((element, index) => {
    const problem = kind.put(view, index * width, element);
    if (problem) throw reject(problem, index);
  });
  return { dtype, shape, bytes };
}

/**
 * Converts a tensor to nested arrays for `JSON.stringify`. Finite values stay exact, except that negative zero becomes
 * zero. NaN and infinities become "NaN", "Infinity" and "-Infinity"; int64 and uint64 past 2^53 become decimal strings.
 * {@link tensorFromJson} reads the result.
 * @throws FormatError `unsupported` for dtypes without a JSON form, `size-mismatch`; `too-large` for a shape of over
 * 2^24 arrays
 */
export function tensorToJson(tensor: Tensor): JsonTensor {
  const { dtype, shape } = tensor;
  const refuse: Refuse = (code, reason, hint) =>
    new FormatError(code, `Cannot write a ${dtype} tensor as JSON: ${reason}`, { hint });
  const held = tensor.dtype === "string" ? tensor.strings.length : tensor.bytes.byteLength;
  const needed = tensor.dtype === "string" ? elementCount(shape) : tensorBytes(tensor.dtype, shape);
  const unit = tensor.dtype === "string" ? "strings" : "bytes";
  if (held !== needed)
    throw refuse("size-mismatch", `[${shape.join(", ")}] takes ${needed} ${unit}, it has ${held}`);
  checkArrays(shape, refuse);
  if (tensor.dtype === "string") return nest(shape, (index) => tensor.strings[index] as string);
  const kind = numbersOf(tensor.dtype, refuse);
  const width = DTYPE_BITS[tensor.dtype] / 8;
  const view = new DataView(tensor.bytes.buffer, tensor.bytes.byteOffset, tensor.bytes.byteLength);
  return nest(shape, (index) => kind.get(view, index * width));
}

/** Spells tensors as {@link tensorToJson} does, by name. */
export function tensorsToJson(tensors: Tensors): Record<string, JsonTensor> {
  return Object.fromEntries(Object.entries(tensors).map(([name, tensor]) => [name, tensorToJson(tensor)]));
}

function numbersOf(dtype: DType, refuse: Refuse): JsonNumber {
  const kind = JSON_NUMBERS[dtype];
  if (!kind)
    throw refuse("unsupported", `JSON has no numbers for ${dtype}`, "Use a .safetensors or .npy file");
  return kind;
}

/** Takes the shape from the first element of each array; {@link flatten} checks the others against it. */
function shapeOf(value: unknown, refuse: Refuse): number[] {
  const shape: number[] = [];
  for (let inner = value; Array.isArray(inner); inner = inner[0]) {
    shape.push(inner.length);
    if (shape.length > MAX_RANK) throw refuse("too-large", `it has over ${MAX_RANK} dimensions`);
  }
  return shape;
}

function flatten(value: unknown, shape: readonly number[], refuse: Refuse): unknown[] {
  const elements: unknown[] = [];
  const walk = (inner: unknown, index: readonly number[]): void => {
    const length = shape[index.length];
    const actual = Array.isArray(inner) ? inner.length : undefined;
    if (actual !== length) {
      const found = actual === undefined ? "no array" : `an array of ${actual}`;
      const expected = length === undefined ? "no array" : `an array of ${length}`;
      throw refuse("malformed", `it has ${found} at [${index.join(", ")}], where others have ${expected}`);
    }
    if (length === undefined) elements.push(inner);
    // Make no index for single elements, which are the most.
    else if (index.length === shape.length - 1) {
      const items = inner as unknown[];
      const array = items.findIndex(Array.isArray);
      if (array >= 0) walk(items[array], [...index, array]);
      for (const item of items) elements.push(item);
    } else (inner as unknown[]).forEach((item, at) => walk(item, [...index, at]));
  };
  walk(value, []);
  return elements;
}

function nest(shape: readonly number[], element: (index: number) => JsonTensor): JsonTensor {
  let next = 0;
  const build = (depth: number): JsonTensor =>
    depth === shape.length
      ? element(next++)
      : Array.from({ length: shape[depth] as number }, () => build(depth + 1));
  return build(0);
}

function checkArrays(shape: readonly number[], refuse: Refuse): void {
  if (shape.length > MAX_RANK) throw refuse("too-large", `it has ${shape.length} dimensions`);
  let arrays = 1;
  let total = 0;
  for (const dim of shape) {
    total += arrays;
    arrays *= dim;
    if (total > MAX_ARRAYS) {
      throw refuse("too-large", `[${shape.join(", ")}] takes over ${MAX_ARRAYS} arrays`, "Use a .npy file");
    }
  }
}

function format(value: unknown): string {
  return (JSON.stringify(value) ?? String(value)).slice(0, 80);
}

function indexOf(flat: number, shape: readonly number[]): string {
  const index: number[] = [];
  let remainder = flat;
  for (const dim of shape.toReversed()) {
    index.unshift(remainder % dim);
    remainder = Math.floor(remainder / dim);
  }
  return index.join(", ");
}

function hintFor(dtype: DType | "string"): string | undefined {
  if (dtype === "bool") return "Write true or false";
  if (dtype === "string") return "Write it in quotes";
  if (dtype === "int64" || dtype === "uint64") return "Write numbers past 2^53 in quotes";
  return dtype.includes("float") ? 'Write "NaN", "Infinity" or "-Infinity" in quotes' : undefined;
}
