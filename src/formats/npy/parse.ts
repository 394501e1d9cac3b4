import { type DType, DTYPE_BITS, elementCount } from "../../tensor/dtype.ts";
import type { Tensor } from "../../tensor/tensor.ts";
import { fileErrors, type FileFail } from "../../errors.ts";
import { type NpyHeader, parseNpyHeader } from "./header.ts";
import { swapBytes, toRowMajor } from "./layout.ts";
import { dtypeOfCode } from "./schema.ts";
import { CHARACTER, decodeStrings } from "./strings.ts";

/** Strings without characters take no bytes, so the file's size does not bound their count. */
const MAX_EMPTY_STRINGS = 65_536;

/**
 * Parses a NumPy .npy file, versions 1.0 to 3.0, of numbers or of `U` strings.
 * Big-endian and column-major arrays are converted to little-endian and row-major; others are views, not copies.
 * @param name names the file in errors
 * @throws FormatError `unknown-format`, `malformed`, `unsupported` (pickled objects, structures, dates, …),
 * `size-mismatch`, `too-large`
 */
export function parseNpy(bytes: Uint8Array, name: string): Tensor {
  return parseArray(bytes, fileErrors({ name }));
}

/** Parses one array of a file. */
export function parseArray(bytes: Uint8Array, fail: FileFail): Tensor {
  const header = parseNpyHeader(bytes, fail);
  const { shape, dataStart } = header;
  const element = elementOf(header, fail);
  const count = elementCount(shape);
  const size = count === undefined ? undefined : count * element.width;
  if (count === undefined || !Number.isSafeInteger(size)) {
    throw fail("too-large", `its shape is [${shape.join(", ")}]`, { offset: dataStart });
  }
  const stored = bytes.subarray(dataStart);
  if (stored.byteLength !== size) {
    throw fail(
      "size-mismatch",
      `[${shape.join(", ")}] ${header.descr} takes ${size} bytes, ${stored.byteLength} are there`,
      { offset: dataStart },
    );
  }
  const ordered = element.swap > 1 ? swapBytes(stored, element.swap) : stored;
  const data = header.fortranOrder && shape.length > 1 ? toRowMajor(ordered, shape, element.width) : ordered;
  if (element.dtype !== "string") return { dtype: element.dtype, shape, bytes: data };
  if (element.width === 0 && count > MAX_EMPTY_STRINGS) {
    throw fail("too-large", `it has ${count} strings of no characters`, { offset: dataStart });
  }
  const strings = decodeStrings(data, count, element.width / CHARACTER, dataStart, fail);
  return { dtype: "string", shape, strings };
}

/** The elements of an array. */
export interface NpyElement {
  readonly dtype: DType | "string";
  /** In bytes. */
  readonly width: number;
  /** Bytes to reverse as one; 1 if there is nothing to reverse. */
  readonly swap: number;
}

/** Parses a type such as `<f4`, `>c16`, `|b1` or `<U7`. */
export function elementOf({ descr, dataStart }: NpyHeader, fail: FileFail): NpyElement {
  // NumPy knows nothing of ml_dtypes' bfloat16 but its width and its order. Plain two bytes are "|V2".
  if (descr === "<V2" || descr === "bfloat16") return { dtype: "bfloat16", width: 2, swap: 1 };
  const [, order = "", code = ""] = /^([<>|])([a-zA-Z]\d*)$/.exec(descr) ?? [];
  const big = order === ">";
  const characters = /^U(\d{1,9})$/.exec(code)?.[1];
  if (characters !== undefined && order !== "|") {
    return { dtype: "string", width: Number(characters) * CHARACTER, swap: big ? CHARACTER : 1 };
  }
  const dtype = dtypeOfCode(code);
  const width = dtype && DTYPE_BITS[dtype] / 8;
  if (!dtype || !width || (order === "|" && width > 1)) {
    throw fail("unsupported", `its type is "${descr}"`, { offset: dataStart, hint: hintFor(descr.slice(1)) });
  }
  const unit = code.startsWith("c") ? width / 2 : width;
  return { dtype, width, swap: big ? unit : 1 };
}

function hintFor(kind: string): string {
  switch (kind[0]) {
    case "O":
      return "Pickled objects may run code: save it as numbers, or with .astype(str)";
    case "S":
      return "Save it with .astype(str)";
    case "V":
      return "NumPy stores the width of such types and not their kind: save it as float32, or in a .safetensors file";
    case "M":
    case "m":
      return 'Save it with .astype("int64")';
    default:
      return "Save it with .astype() of a number type that tare knows, such as float32";
  }
}
