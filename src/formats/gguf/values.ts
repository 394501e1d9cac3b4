import { type GgufType, VALUE_BYTES, VALUE_TYPES } from "./schema.ts";

/**
 * A metadata value: `bigint` for 64-bit integers, `number` for shorter integers and floats. A value that these cannot
 * represent (a string that is not UTF-8, a NaN with a payload) is its bytes.
 */
export type GgufValue = number | bigint | boolean | string | GgufArray | Uint8Array;

/** One entry of the metadata. */
export interface GgufEntry {
  readonly key: string;
  readonly type: GgufType;
  readonly value: GgufValue;
}

/** Metadata in the order of the file; keys are unique. */
export type GgufMetadata = readonly GgufEntry[];

/** The bits of the NaN that JavaScript writes. Other NaNs may lose theirs as a `number`. */
const NAN32 = 0x7fc00000;
const NAN64 = 0x7ff8000000000000n;

/** Finds an entry. */
export function findEntry(metadata: GgufMetadata, key: string): GgufEntry | undefined {
  return metadata.find((entry) => entry.key === key);
}

/**
 * An array of metadata, kept as bytes. Iterating decodes its values.
 * The parser makes it, or `ggufArray` from values.
 */
export class GgufArray implements Iterable<GgufValue> {
  /** Type of the elements. */
  readonly type: GgufType;
  /** Number of elements. */
  readonly length: number;
  /** The elements end to end, without type and length; well-formed. */
  readonly bytes: Uint8Array;

  constructor(type: GgufType, length: number, bytes: Uint8Array) {
    this.type = type;
    this.length = length;
    this.bytes = bytes;
  }

  *[Symbol.iterator](): Generator<GgufValue, void, undefined> {
    const view = new DataView(this.bytes.buffer, this.bytes.byteOffset, this.bytes.byteLength);
    let at = 0;
    for (let index = 0; index < this.length; index++) {
      if (this.type === "string") {
        const end = at + 8 + Number(view.getBigUint64(at, true));
        yield textOf(this.bytes.subarray(at + 8, end));
        at = end;
      } else if (this.type === "array") {
        const { array, end } = innerArray(this.bytes, view, at);
        yield array;
        at = end;
      } else {
        yield scalarAt(view, at, this.type);
        at += VALUE_BYTES.get(this.type) as number;
      }
    }
  }
}

/** Reads a value of fixed size. Any byte but 0 is true. */
export function scalarAt(view: DataView, at: number, type: GgufType): number | bigint | boolean | Uint8Array {
  switch (type) {
    case "uint8":
      return view.getUint8(at);
    case "int8":
      return view.getInt8(at);
    case "uint16":
      return view.getUint16(at, true);
    case "int16":
      return view.getInt16(at, true);
    case "uint32":
      return view.getUint32(at, true);
    case "int32":
      return view.getInt32(at, true);
    case "uint64":
      return view.getBigUint64(at, true);
    case "int64":
      return view.getBigInt64(at, true);
    case "bool":
      return view.getUint8(at) !== 0;
    case "float32": {
      const value = view.getFloat32(at, true);
      const exact = !Number.isNaN(value) || view.getUint32(at, true) === NAN32;
      return exact ? value : new Uint8Array(view.buffer, view.byteOffset + at, 4);
    }
    case "float64": {
      const value = view.getFloat64(at, true);
      const exact = !Number.isNaN(value) || view.getBigUint64(at, true) === NAN64;
      return exact ? value : new Uint8Array(view.buffer, view.byteOffset + at, 8);
    }
    default:
      throw new TypeError(`${type} values have no fixed size`);
  }
}

/** Decodes text; returns the bytes if they are not UTF-8. */
export function textOf(bytes: Uint8Array): string | Uint8Array {
  try {
    return UTF8.decode(bytes);
  } catch {
    return bytes;
  }
}

/** Keeps a byte order mark, which is a character of the string. */
const UTF8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** Reads a nested array; the parser checked both. */
function innerArray(bytes: Uint8Array, view: DataView, at: number): { array: GgufArray; end: number } {
  const type = (VALUE_TYPES[view.getUint32(at, true)] as (typeof VALUE_TYPES)[number])[0];
  const length = Number(view.getBigUint64(at + 4, true));
  const start = at + 12;
  const end = endOf(bytes, view, start, type, length);
  return { array: new GgufArray(type, length, bytes.subarray(start, end)), end };
}

/** End of checked elements, in bytes. */
function endOf(bytes: Uint8Array, view: DataView, start: number, type: GgufType, length: number): number {
  const width = VALUE_BYTES.get(type);
  if (width !== undefined) return start + width * length;
  let at = start;
  for (let index = 0; index < length; index++) {
    at = type === "string" ? at + 8 + Number(view.getBigUint64(at, true)) : innerArray(bytes, view, at).end;
  }
  return at;
}
