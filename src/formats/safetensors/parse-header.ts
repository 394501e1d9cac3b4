import { parseStrictJson } from "../../encodings/json.ts";
import { type ErrorCode, fileErrors, type FileFail, type FormatError, shorten } from "../../errors.ts";
import { type DType, DTYPE_BITS, elementCount } from "../../tensor/dtype.ts";
import { DTYPES, MAX_HEADER_LENGTH, METADATA, PREFIX } from "./schema.ts";

/** The file that a header is of. */
export interface SafetensorsFile {
  /** For errors. */
  readonly name: string;
  /** In bytes. */
  readonly size: number;
}

/** A tensor of a safetensors file that was not read. */
export interface SafetensorsEntry {
  readonly name: string;
  readonly dtype: DType;
  readonly shape: readonly number[];
  /** In bytes from the start of the file. */
  readonly offset: number;
  /** In bytes; that of shape and dtype. */
  readonly length: number;
}

/** What stands before the data of a safetensors file. */
export interface SafetensorsHeader {
  /** Where the data starts, in bytes: the size of the length and the header. */
  readonly dataStart: number;
  /** The file's own remarks, such as `format: "pt"`; any key may be there, `__proto__` too. */
  readonly metadata: Readonly<Record<string, string>> | undefined;
  /** In the order of their data, which they cover without overlaps or holes. */
  readonly tensors: readonly SafetensorsEntry[];
}

/**
 * How many bytes from the start of the file {@link parseSafetensorsHeader} needs, told by the first 8.
 * @param first at least those 8, unless the file is shorter
 * @throws FormatError `malformed`; `too-large` for a header over 100 MB
 */
export function safetensorsHeaderSize(first: Uint8Array, file: SafetensorsFile): number {
  const fail = fileErrors(file);
  if (first.byteLength < PREFIX) {
    throw fail("malformed", `it has ${first.byteLength} bytes, fewer than a header's length takes`, {
      offset: 0,
    });
  }
  const length = new DataView(first.buffer, first.byteOffset, PREFIX).getBigUint64(0, true);
  if (length > BigInt(MAX_HEADER_LENGTH))
    throw fail("too-large", `its header has ${length} bytes`, { offset: 0 });
  const end = PREFIX + Number(length);
  if (end > file.size) {
    throw fail("malformed", `its header ends at byte ${end}, past the end at ${file.size}`, { offset: 0 });
  }
  return end;
}

/**
 * Parses the header of a safetensors file; of the data nothing is needed but its size.
 * Refuses what the reference implementation refuses, and keys that stand twice: data that overlaps, or belongs to
 * no tensor, or is not of its tensor's size. Further fields of a tensor are let pass, as there.
 * Source: https://github.com/huggingface/safetensors#format
 * @param bytes the start of the file, of at least {@link safetensorsHeaderSize} bytes
 * @throws FormatError `malformed`, `duplicate`, `unsupported`, `size-mismatch`, `too-large`
 */
export function parseSafetensorsHeader(bytes: Uint8Array, file: SafetensorsFile): SafetensorsHeader {
  const fail = fileErrors(file);
  const dataStart = safetensorsHeaderSize(bytes, file);
  if (dataStart > bytes.byteLength) {
    throw new RangeError(`${bytes.byteLength} of the header's ${dataStart} bytes were given`);
  }
  if (bytes[PREFIX] !== 0x7b) throw fail("malformed", "its header does not start with {", { offset: PREFIX });
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(bytes.subarray(PREFIX, dataStart));
  } catch {
    throw fail("malformed", "its header is not UTF-8", { offset: PREFIX });
  }
  // It starts with a brace: it is an object.
  const json = parseStrictJson(text, file.name, PREFIX) as Record<string, unknown>;
  const tensors: SafetensorsEntry[] = [];
  let metadata: Record<string, string> | undefined;
  for (const [name, value] of Object.entries(json)) {
    if (name === METADATA) metadata = parseMetadata(value, fail);
    else tensors.push(parseEntry(name, value, dataStart, fail));
  }
  // Of tensors at one place those without data come first: there may be many, and they overlap nothing.
  tensors.sort((a, b) => a.offset - b.offset || a.length - b.length);
  checkCover(tensors, dataStart, file.size, fail);
  return { dataStart, metadata, tensors };
}

function parseMetadata(value: unknown, fail: FileFail): Record<string, string> {
  if (!isObject(value) || !Object.values(value).every((item) => typeof item === "string")) {
    throw fail("malformed", `its ${METADATA} is not made of strings`, { offset: PREFIX });
  }
  return value as Record<string, string>;
}

function parseEntry(name: string, value: unknown, dataStart: number, fail: FileFail): SafetensorsEntry {
  const bad = (code: ErrorCode, reason: string, offset = PREFIX): FormatError =>
    fail(code, reason, { offset, tensor: name });
  if (!isObject(value)) throw bad("malformed", "its entry in the header is not an object");
  const { dtype: code, shape, data_offsets: range } = value;
  if (typeof code !== "string") throw bad("malformed", "it has no dtype");
  const dtype = DTYPES.get(code);
  if (!dtype) throw bad("unsupported", `its dtype is "${code.slice(0, 40)}"`);
  if (!isWholes(shape)) throw bad("malformed", "its shape is not a list of whole numbers");
  if (!isWholes(range) || range.length !== 2) {
    throw bad("malformed", "its data_offsets are not two whole numbers");
  }
  const [begin, end] = range as [number, number];
  if (begin > end) throw bad("malformed", `its data ends at ${end}, before it starts at ${begin}`);
  const count = elementCount(shape);
  const bits = count === undefined ? undefined : count * DTYPE_BITS[dtype];
  if (!Number.isSafeInteger(bits)) throw bad("too-large", `its shape is [${shorten(shape.join(", "))}]`);
  // Elements of less than a byte must fill their last one; then this is whole, or never equal.
  const bytes = (bits as number) / 8;
  if (bytes !== end - begin) {
    throw bad(
      "size-mismatch",
      `[${shorten(shape.join(", "))}] ${code} takes ${bytes} bytes, its data has ${end - begin}`,
      dataStart + begin,
    );
  }
  return { name, dtype, shape, offset: dataStart + begin, length: bytes };
}

/** Refuses overlaps, holes, and data that the file does not have or no tensor does. */
function checkCover(
  tensors: readonly SafetensorsEntry[],
  dataStart: number,
  size: number,
  fail: FileFail,
): void {
  let at = dataStart;
  let before = "";
  for (const { name, offset, length } of tensors) {
    if (offset > at) throw fail("malformed", `bytes ${at} to ${offset} belong to no tensor`, { offset: at });
    if (offset < at) {
      throw fail("malformed", `it starts at byte ${offset}, inside tensor "${shorten(before)}"`, {
        offset,
        tensor: name,
      });
    }
    if (offset + length > size) {
      throw fail("malformed", `it ends at byte ${offset + length}, past the end at ${size}`, {
        offset,
        tensor: name,
      });
    }
    at = offset + length;
    before = name;
  }
  if (at !== size) throw fail("malformed", `bytes ${at} to ${size} belong to no tensor`, { offset: at });
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isWholes(value: unknown): value is number[] {
  return (
    Array.isArray(value) &&
    value.every((item) => Number.isSafeInteger(item) && item >= 0 && !Object.is(item, -0))
  );
}
