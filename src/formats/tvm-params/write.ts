import { elementCount } from "../../tensor/dtype.ts";
import { fileErrors } from "../../errors.ts";
import {
  ARRAY_FIXED,
  ARRAY_MAGIC,
  bytesOf,
  CPU,
  type DLType,
  LIST_MAGIC,
  MAX_DIMENSIONS,
  PREFIX,
} from "./schema.ts";

/** An array to write. The results of `readTvmParamsEntries` are such. */
export interface ParamsSpec {
  readonly name: string;
  readonly type: DLType;
  readonly shape: readonly number[];
}

/** The place of an array in a parameter file. */
export interface ParamsPlace {
  /** Bytes before the data. Those of the first array start with the names of all. */
  readonly header: Uint8Array;
  /** Start of the data, in bytes from the start of the file. */
  readonly offset: number;
  /** Length of the data, in bytes. */
  readonly length: number;
}

const fail = fileErrors({ format: "TVM parameter" });

/**
 * Encodes a parameter file without its data, byte for byte as TVM. The file is the header and data of each array in
 * turn, or `empty` if there are no arrays.
 * @throws FormatError `duplicate`, `unsupported`, `too-large`
 */
export function encodeTvmParams(specs: readonly ParamsSpec[]): {
  readonly places: readonly ParamsPlace[];
  readonly empty: Uint8Array;
  readonly size: number;
} {
  const list = encodeNames(specs);
  let size = list.byteLength;
  const places = specs.map((spec, nth): ParamsPlace => {
    const { header: own, length } = encodeArray(spec);
    const header = nth === 0 ? joined(list, own) : own;
    const offset = size + own.byteLength;
    size = offset + length;
    if (!Number.isSafeInteger(size))
      throw fail("too-large", "over 2^53 bytes of data", { tensor: spec.name });
    return { header, offset, length };
  });
  return { places, empty: specs.length === 0 ? list : new Uint8Array(), size };
}

function encodeNames(specs: readonly ParamsSpec[]): Uint8Array {
  const encoder = new TextEncoder();
  const seen = new Set<string>();
  const names = specs.map(({ name }) => {
    if (seen.has(name)) throw fail("duplicate", "it occurs twice", { tensor: name });
    seen.add(name);
    return encoder.encode(name);
  });
  const length = names.reduce((sum, name) => sum + 8 + name.byteLength, PREFIX + 16);
  const bytes = new Uint8Array(length);
  const view = new DataView(bytes.buffer);
  view.setBigUint64(0, LIST_MAGIC, true);
  view.setBigUint64(PREFIX, BigInt(names.length), true);
  let at = PREFIX + 8;
  for (const name of names) {
    view.setBigUint64(at, BigInt(name.byteLength), true);
    bytes.set(name, at + 8);
    at += 8 + name.byteLength;
  }
  view.setBigUint64(at, BigInt(names.length), true);
  return bytes;
}

function encodeArray({ name, type, shape }: ParamsSpec): { header: Uint8Array; length: number } {
  const count = elementCount(shape);
  const length = count === undefined ? Number.NaN : bytesOf(type, count);
  if (!Number.isSafeInteger(length))
    throw fail("too-large", `its shape is [${shape.join(", ")}]`, { tensor: name });
  if (shape.length > MAX_DIMENSIONS) {
    throw fail("unsupported", `it has ${shape.length} dimensions`, { tensor: name });
  }
  const header = new Uint8Array(ARRAY_FIXED + 8 * shape.length + 8);
  const view = new DataView(header.buffer);
  view.setBigUint64(0, ARRAY_MAGIC, true);
  view.setInt32(16, CPU, true);
  view.setInt32(24, shape.length, true);
  view.setUint8(28, type.code);
  view.setUint8(29, type.bits);
  view.setUint16(30, type.lanes, true);
  for (const [nth, dimension] of shape.entries()) {
    view.setBigInt64(ARRAY_FIXED + 8 * nth, BigInt(dimension), true);
  }
  view.setBigInt64(header.byteLength - 8, BigInt(length), true);
  return { header, length };
}

function joined(a: Uint8Array, b: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(a.byteLength + b.byteLength);
  bytes.set(a);
  bytes.set(b, a.byteLength);
  return bytes;
}
