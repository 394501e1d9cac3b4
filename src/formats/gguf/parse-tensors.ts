import { type FormatError, shorten } from "../../errors.ts";
import { type DType, BLOCK_ELEMENTS, elementCount, tensorBytes } from "../../tensor/dtype.ts";
import { type GgufCursor, toSafeNumber } from "./cursor.ts";
import { type GgufFile, ggufErrors } from "./file.ts";
import { CUT_OFF } from "../failure.ts";
import { parseName } from "./parse-metadata.ts";
import { MAX_DIMENSIONS, TENSOR_TYPES } from "./schema.ts";

/** A tensor of a GGUF file; its data is not read. */
export interface GgufTensor {
  readonly name: string;
  /** ggml's number of the type. */
  readonly type: number;
  /** `undefined` for an unknown type. */
  readonly dtype: DType | undefined;
  /** Outermost dimension first, the reverse of the file's order; at most four. */
  readonly shape: readonly number[];
  /** Bytes from the start of the file. */
  readonly offset: number;
  /** In bytes; for an unknown type, all bytes up to the next tensor or the end of the file. */
  readonly length: number;
}

/** A tensor's entry in the header. */
export interface GgufTensorInfo extends Omit<GgufTensor, "offset" | "length"> {
  /** In bytes from the start of the data. */
  readonly offset: bigint;
  /** In bytes, by shape and type; `undefined` for an unknown type. */
  readonly length: number | undefined;
  /** Offset of the entry in the file, in bytes. */
  readonly at: number;
}

/** Smallest entry of a tensor: a length, a count of dimensions, a type, an offset. */
export const MIN_TENSOR_BYTES = 24;

/**
 * Parses the tensors' entries in the header.
 * @throws FormatError `malformed`, `duplicate`, `too-large`
 */
export function parseTensorInfos(cursor: GgufCursor, count: number): GgufTensorInfo[] {
  const infos: GgufTensorInfo[] = [];
  const names = new Set<string>();
  for (let index = 0; index < count; index++) {
    const start = cursor.at;
    const name = parseName(cursor, `the name of tensor ${index}`);
    if (names.has(name)) {
      throw cursor.fail("duplicate", "two tensors have that name", { tensor: name, offset: start });
    }
    names.add(name);
    infos.push(parseInfo(cursor, name, start));
  }
  return infos;
}

function parseInfo(cursor: GgufCursor, name: string, at: number): GgufTensorInfo {
  const { file } = cursor;
  const what = `the entry of tensor "${shorten(name)}"`;
  const dimensions = cursor.uint32(what);
  if (dimensions > MAX_DIMENSIONS) {
    throw ggufErrors(file)("malformed", `it has ${dimensions} dimensions, over four`, {
      tensor: name,
      offset: at,
    });
  }
  const shape: number[] = [];
  for (let index = 0; index < dimensions; index++) {
    const dimension = cursor.uint64(what);
    const fail = (): FormatError =>
      ggufErrors(file)("too-large", `it has a dimension of ${dimension}`, { tensor: name, offset: at });
    shape.unshift(toSafeNumber(dimension, fail));
  }
  const type = cursor.uint32(what);
  const dtype = TENSOR_TYPES.get(type);
  const offset = cursor.uint64(what);
  if (elementCount(shape) === undefined) {
    throw ggufErrors(file)("too-large", `its shape is [${shape.join(", ")}]`, { tensor: name, offset: at });
  }
  if (!dtype) return { name, type, dtype, shape, offset, length: undefined, at };
  const elements = BLOCK_ELEMENTS[dtype] ?? 1;
  const row = shape.at(-1) ?? 1;
  if (row % elements !== 0) {
    const reason = `its rows of ${row} elements are no whole blocks of ${elements}, as ${dtype} has them`;
    throw ggufErrors(file)("malformed", reason, { tensor: name, offset: at });
  }
  const length = tensorBytes(dtype, shape);
  if (length === undefined) {
    throw ggufErrors(file)("too-large", `its shape is [${shape.join(", ")}]`, { tensor: name, offset: at });
  }
  return { name, type, dtype, shape, offset, length, at };
}

/**
 * Places the tensors in the file. Each must start where the previous one ends, plus padding, as every writer does and
 * llama.cpp demands. Padding, and bytes after the last tensor, may hold anything: they are kept.
 * @param dataStart in bytes
 * @throws FormatError `malformed`; `size-mismatch` for a tensor past the end of the file
 */
export function placeTensors(
  infos: readonly GgufTensorInfo[],
  dataStart: number,
  alignment: number,
  file: GgufFile,
): GgufTensor[] {
  const tensors: GgufTensor[] = [];
  let before: GgufTensorInfo | undefined;
  for (const [index, info] of infos.entries()) {
    const { name, type, dtype, shape, at } = info;
    checkStart(info, before, alignment, file);
    const start = BigInt(dataStart) + info.offset;
    const fail = (): FormatError =>
      ggufErrors(file)("size-mismatch", `it starts at byte ${start}, ${pastEnd(file)}`, {
        tensor: name,
        offset: at,
      });
    const offset = toSafeNumber(start, fail);
    const next = infos[index + 1];
    const length = info.length ?? (next ? Number(next.offset - info.offset) : file.size - offset);
    const cutOff = (reason: string): FormatError =>
      ggufErrors(file)("size-mismatch", reason, { tensor: name, offset, hint: CUT_OFF });
    // A negative length means that the next tensor starts before this one: the next turn refuses it.
    const end = offset + Math.max(0, length);
    if (end > file.size) throw cutOff(`it ends at byte ${end}, ${pastEnd(file)}`);
    if (length === 0 && !shape.includes(0)) throw cutOff("no bytes are left for it");
    tensors.push({ name, type, dtype, shape, offset, length });
    before = info;
  }
  return tensors;
}

function pastEnd(file: GgufFile): string {
  return `past the end of the file at ${file.size}`;
}

function checkStart(
  info: GgufTensorInfo,
  before: GgufTensorInfo | undefined,
  alignment: number,
  file: GgufFile,
): void {
  const { name, offset, at } = info;
  const fail = (reason: string): FormatError =>
    ggufErrors(file)("malformed", reason, { tensor: name, offset: at });
  if (offset % BigInt(alignment) !== 0n) {
    throw fail(`it starts at byte ${offset} of the data, no multiple of the alignment ${alignment}`);
  }
  const end = before ? before.offset + BigInt(before.length ?? 0) : 0n;
  const expected = alignOffset(end, BigInt(alignment));
  if (before && offset < end) {
    throw fail(`it starts at byte ${offset} of the data, inside or before tensor "${shorten(before.name)}"`);
  }
  const known = !before || before.length !== undefined;
  if (known && offset !== expected) {
    throw fail(`it starts at byte ${offset} of the data: bytes ${expected} to ${offset} belong to no tensor`);
  }
}

/** Rounds up to a multiple of the alignment. */
export function alignOffset(at: bigint, alignment: bigint): bigint {
  return ((at + alignment - 1n) / alignment) * alignment;
}
