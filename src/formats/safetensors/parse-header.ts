import { parseStrictJson } from "../../encodings/json.ts";
import { type ErrorCode, fileErrors, type FileFail, type FormatError, shorten } from "../../errors.ts";
import { type DType, DTYPE_BITS, elementCount } from "../../tensor/dtype.ts";
import { DTYPES, MAX_HEADER_LENGTH, METADATA, PREFIX } from "./schema.ts";

/** The file that a header is of. */
export interface SafetensorsFile {
  /** Names the file in errors. */
  readonly name: string;
  /** In bytes. */
  readonly size: number;
}

/** A tensor of a safetensors file; its data is not read. */
export interface SafetensorsEntry {
  readonly name: string;
  readonly dtype: DType;
  readonly shape: readonly number[];
  /** Bytes from the start of the file. */
  readonly offset: number;
  /** In bytes, by shape and dtype. */
  readonly length: number;
}

/** The header of a safetensors file: everything before its data. */
export interface SafetensorsHeader {
  /** Start of the data, in bytes: the size of the header and its length field. */
  readonly dataStart: number;
  /** Remarks of the writer, such as `format: "pt"`. Any key is possible, `__proto__` too. */
  readonly metadata: Readonly<Record<string, string>> | undefined;
  /** In the order of their data, which they cover without overlaps or gaps. */
  readonly tensors: readonly SafetensorsEntry[];
}

/**
 * The number of bytes that {@link parseSafetensorsHeader} needs, by the first 8 bytes of the file.
 * @param first at least 8 bytes, unless the file is shorter
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
 * Parses the header of a safetensors file. The data itself is not needed.
 * Refuses what the reference implementation refuses (data that overlaps, belongs to no tensor, or is not of its
 * tensor's size), and duplicate keys. Further fields of a tensor are accepted, as there.
 * Source: https://github.com/huggingface/safetensors#format
 * @param bytes the start of the file, at least {@link safetensorsHeaderSize} bytes
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
  // JSON that starts with a brace is an object.
  const json = parseStrictJson(text, file.name, PREFIX) as Record<string, unknown>;
  const tensors: SafetensorsEntry[] = [];
  let metadata: Record<string, string> | undefined;
  for (const [name, value] of Object.entries(json)) {
    if (name === METADATA) metadata = parseMetadata(value, fail);
    else tensors.push(parseEntry(name, value, dataStart, fail));
  }
  // Of tensors at one offset, those without data come first: they may be many, and overlap nothing.
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
  // Sub-byte elements must fill their last byte: a fraction never equals the length.
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

/** Refuses overlaps, gaps, and data past the end of the file. */
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
