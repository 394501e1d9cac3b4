import { type FileFail, FormatError, operationError, shorten } from "../../errors.ts";
import { BLOCK_ELEMENTS, type DType, elementCount, tensorBytes } from "../../tensor/dtype.ts";
import type { NumberTensor, StringTensor, Tensor } from "../../tensor/tensor.ts";
import { encodeNpyHeader, MAX_RANK } from "./header.ts";
import { descrOf } from "./schema.ts";
import { CHARACTER, encodeStrings } from "./strings.ts";

/** Largest typed array that every JavaScript engine supports, in bytes. */
const LARGEST = 2 ** 32 - 1;

/**
 * Encodes a tensor byte for byte as `numpy.save`: version 1.0, little-endian, row-major.
 * @param name names the tensor in errors
 * @throws FormatError `unsupported` for a dtype that NumPy does not have (bfloat16, float8, int4, …) and for strings
 * that it would not keep; `size-mismatch`, `too-large`
 */
export function writeNpy(tensor: Tensor, name?: string): Uint8Array {
  const fail = arrayErrors(name);
  const { descr, data } = tensor.dtype === "string" ? ofStrings(tensor, fail) : ofNumbers(tensor, fail);
  const header = headerOf(descr, tensor.shape, fail);
  const bytes = new Uint8Array(header.byteLength + data.byteLength);
  bytes.set(header);
  bytes.set(data, header.byteLength);
  return bytes;
}

/**
 * Encodes the header that `numpy.save` writes before an array of numbers, which follow little-endian and row-major.
 * @param name names the tensor in errors
 * @throws FormatError `unsupported` for a dtype that NumPy does not have, and for over 64 dimensions
 */
export function npyHeaderFor(name: string, dtype: DType, shape: readonly number[]): Uint8Array {
  const fail = arrayErrors(name);
  return headerOf(descrFor(dtype, fail), shape, fail);
}

function arrayErrors(name: string | undefined): FileFail {
  const subject = name === undefined ? "the tensor" : `tensor "${shorten(name)}"`;
  return (code, reason, details) =>
    operationError(FormatError, {
      ...details,
      code,
      doing: `write ${subject} as .npy`,
      reason,
      tensor: name,
    });
}

function headerOf(descr: string, shape: readonly number[], fail: FileFail): Uint8Array {
  if (shape.length > MAX_RANK) throw fail("unsupported", `it has ${shape.length} dimensions`);
  return encodeNpyHeader(descr, shape);
}

function descrFor(dtype: DType, fail: FileFail): string {
  const descr = descrOf(dtype);
  if (!descr) throw fail("unsupported", `NumPy has no ${dtype}`, { hint: hintFor(dtype) });
  return descr;
}

interface Encoded {
  readonly descr: string;
  readonly data: Uint8Array;
}

function ofNumbers({ dtype, shape, bytes }: NumberTensor, fail: FileFail): Encoded {
  const descr = descrFor(dtype, fail);
  const size = tensorBytes(dtype, shape);
  if (size !== bytes.byteLength) {
    throw fail(
      "size-mismatch",
      `[${shape.join(", ")}] ${dtype} takes ${size} bytes, it has ${bytes.byteLength}`,
    );
  }
  return { descr, data: bytes };
}

function hintFor(dtype: DType): string {
  if (dtype in BLOCK_ELEMENTS) return "Write a .gguf file, or convert it to float32 first";
  return dtype.startsWith("int") || dtype.startsWith("uint")
    ? `Convert it to ${dtype.replace(/\d+$/, "8")} first`
    : "Write a .safetensors file, or convert it to float32 first";
}

function ofStrings({ shape, strings }: StringTensor, fail: FileFail): Encoded {
  if (strings.length !== elementCount(shape)) {
    throw fail("size-mismatch", `its shape is [${shape.join(", ")}], it has ${strings.length} strings`);
  }
  // NumPy's smallest width is 1.
  let characters = 1;
  for (const text of strings) {
    if (text.endsWith("\0")) throw fail("unsupported", "NumPy drops the NUL at the end of a string");
    if (/\p{Surrogate}/u.test(text)) throw fail("unsupported", "a string has half of a surrogate pair");
    let length = 0;
    for (const _ of text) length++;
    characters = Math.max(characters, length);
  }
  if (strings.length * characters * CHARACTER > LARGEST) {
    throw fail("too-large", `${strings.length} strings of ${characters} characters each, as its longest has`);
  }
  return { descr: `<U${characters}`, data: encodeStrings(strings, characters) };
}
