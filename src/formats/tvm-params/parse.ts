import { elementCount } from "../../tensor/dtype.ts";
import { fileErrors } from "../../errors.ts";
import {
  ARRAY_FIXED,
  ARRAY_MAGIC,
  bytesOf,
  CPU,
  type DLType,
  dtypeOfType,
  LIST_MAGIC,
  MAX_NAMES_LENGTH,
  MAX_DIMENSIONS,
  PREFIX,
} from "./schema.ts";

/** The file of parameters. */
export interface ParamsFile {
  /** Names the file in errors. */
  readonly name: string;
  /** In bytes. */
  readonly size: number;
}

/** The names of a file's arrays. */
export interface ParamsNames {
  readonly names: readonly string[];
  /** Start of the first array, in bytes from the start of the file. */
  readonly end: number;
}

/** The header of an array. */
export interface ParamsArray {
  readonly type: DLType;
  readonly shape: readonly number[];
  /** Start of the data, in bytes from the start of the file. */
  readonly offset: number;
  /** Length of the data, in bytes. */
  readonly length: number;
}

/**
 * Parses the names at the start of a parameter file.
 * @param bytes the start of the file
 * @returns `undefined` if it needs more bytes
 * @throws FormatError `unknown-format`, `malformed`, `unsupported`, `duplicate`, `too-large`
 */
export function parseParamsNames(bytes: Uint8Array, file: ParamsFile): ParamsNames | undefined {
  const fail = fileErrors(file);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (file.size < PREFIX + 8 || (view.byteLength >= 8 && view.getBigUint64(0, true) !== LIST_MAGIC)) {
    const hint = "MXNet's parameters have the same extension; tare does not read them";
    throw fail("unknown-format", "it does not start as TVM's parameters do", { offset: 0, hint });
  }
  if (view.byteLength < PREFIX + 8) return undefined;
  if (view.getBigUint64(8, true) !== 0n)
    throw fail("unsupported", "its reserved number is not 0", { offset: 8 });
  const count = view.getBigUint64(PREFIX, true);
  if (count > BigInt(Math.floor((file.size - PREFIX - 8) / 8))) {
    throw fail("malformed", `${count} names do not fit its bytes`, { offset: PREFIX });
  }
  const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
  const names = new Set<string>();
  let at = PREFIX + 8;
  for (let index = 0; index < Number(count); index++) {
    if (at + 8 > view.byteLength) return needMore(at + 8);
    const length = Number(view.getBigUint64(at, true));
    if (length > file.size - at - 8)
      throw fail("malformed", `name ${index} ends past the end`, { offset: at });
    if (at + 8 + length > view.byteLength) return needMore(at + 8 + length);
    let name: string;
    try {
      name = decoder.decode(bytes.subarray(at + 8, at + 8 + length));
    } catch {
      throw fail("malformed", `name ${index} is not UTF-8`, { offset: at + 8 });
    }
    if (names.has(name)) throw fail("duplicate", "it occurs twice", { offset: at, tensor: name });
    names.add(name);
    at += 8 + length;
  }
  if (at + 8 > view.byteLength) return needMore(at + 8);
  const arrays = view.getBigUint64(at, true);
  if (arrays !== count) throw fail("malformed", `it has ${count} names and ${arrays} arrays`, { offset: at });
  return { names: [...names], end: at + 8 };

  function needMore(end: number): undefined {
    if (end > file.size)
      throw fail("malformed", `its names end past the end at ${file.size}`, { offset: at });
    if (end > MAX_NAMES_LENGTH)
      throw fail("too-large", `its names take over ${MAX_NAMES_LENGTH} bytes`, { offset: at });
    return undefined;
  }
}

/**
 * Parses the header of an array.
 * @param bytes the file from `start` on: of 40 bytes and 8 more per dimension, as many as there are
 * @param start start of the array, in bytes from the start of the file
 * @returns the number of bytes that it needs, if `bytes` are too few
 * @throws FormatError `malformed`, `unsupported`, `too-large`, `size-mismatch`
 */
export function parseParamsArray(
  bytes: Uint8Array,
  start: number,
  name: string,
  file: ParamsFile,
): ParamsArray | number {
  const fail = fileErrors(file);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const need = (length: number): void => {
    if (length > file.size - start)
      throw fail("malformed", "it ends past the end of the file", { offset: start, tensor: name });
  };
  need(ARRAY_FIXED + 8);
  if (view.byteLength < ARRAY_FIXED) return ARRAY_FIXED;
  if (view.getBigUint64(0, true) !== ARRAY_MAGIC) {
    throw fail("malformed", "no array starts at its place", { offset: start, tensor: name });
  }
  if (view.getBigUint64(8, true) !== 0n) {
    throw fail("unsupported", "its reserved number is not 0", { offset: start + 8, tensor: name });
  }
  const device = view.getInt32(16, true);
  if (device !== CPU)
    throw fail("malformed", `it is on device ${device}, not on a CPU`, { offset: start + 16, tensor: name });
  const dimensions = view.getInt32(24, true);
  if (dimensions < 0 || dimensions > MAX_DIMENSIONS) {
    throw fail("malformed", `it has ${dimensions} dimensions`, { offset: start + 24, tensor: name });
  }
  const type = { code: view.getUint8(28), bits: view.getUint8(29), lanes: view.getUint16(30, true) };
  const end = ARRAY_FIXED + 8 * dimensions + 8;
  need(end);
  if (view.byteLength < end) return end;
  const shape = Array.from({ length: dimensions }, (_, nth) =>
    Number(view.getBigInt64(ARRAY_FIXED + 8 * nth, true)),
  );
  const count = elementCount(shape);
  if (count === undefined)
    throw fail("too-large", `its shape is [${shape.join(", ")}]`, { offset: start, tensor: name });
  const said = view.getBigInt64(end - 8, true);
  const length = Number(said);
  if (length < 0 || length > file.size - start - end) {
    throw fail("malformed", `its ${said} bytes end past the end of the file`, {
      offset: start + end,
      tensor: name,
    });
  }
  const takes = bytesOf(type, count);
  if (dtypeOfType(type) && takes !== length) {
    const reason = `[${shape.join(", ")}] of ${type.bits} bits takes ${takes} bytes, its data has ${length}`;
    throw fail("size-mismatch", reason, { offset: start + end, tensor: name });
  }
  return { type, shape, offset: start + end, length };
}
