import { type ErrorCode, type ErrorDetails, FormatError, operationError, shorten } from "../../errors.ts";
import { ByteWriter } from "../../io/byte-writer.ts";
import {
  MAX_ARRAY_DEPTH,
  type GgufType,
  MAX_NAME_LENGTH,
  MAX_ENTRIES,
  VALUE_BYTES,
  VALUE_TYPES,
} from "./schema.ts";
import { GgufArray, type GgufMetadata, type GgufValue } from "./values.ts";

/** Smallest and largest value of each integer type. */
const RANGES: ReadonlyMap<GgufType, readonly [bigint, bigint]> = new Map(
  VALUE_TYPES.filter(([type]) => type.includes("int")).map(([type, bytes = 0]) => {
    const bits = BigInt(bytes * 8);
    return [
      type,
      type.startsWith("u") ? [0n, 2n ** bits - 1n] : [-(2n ** (bits - 1n)), 2n ** (bits - 1n) - 1n],
    ];
  }),
);

/**
 * Makes an array of metadata from values of one type. Nested arrays are made by this function too.
 * @throws FormatError `malformed` for a value of another type, `out-of-range`
 */
export function ggufArray(type: GgufType, values: Iterable<GgufValue>): GgufArray {
  const writer = new ByteWriter();
  let length = 0;
  for (const value of values) {
    writeValue(writer, type, value, `element ${length} of an array`);
    length++;
  }
  return new GgufArray(type, length, writer.finish());
}

/**
 * Writes all entries of the metadata.
 * @throws FormatError `malformed`, `out-of-range`, `bad-name`, `duplicate`, `too-large`
 */
export function writeMetadata(writer: ByteWriter, metadata: GgufMetadata): void {
  if (metadata.length > MAX_ENTRIES) {
    throw cannotEncode("too-large", `metadata of ${metadata.length} entries, over ${MAX_ENTRIES}`);
  }
  const keys = new Set<string>();
  for (const { key, type, value } of metadata) {
    const what = `"${shorten(key)}"`;
    if (key === "") throw cannotEncode("bad-name", "an empty key");
    if (keys.has(key)) throw cannotEncode("duplicate", `the key ${what} twice`);
    keys.add(key);
    writeName(writer, key, `the key ${what}`);
    writer.uint32(numberOfType(type));
    writeValue(writer, type, value, what);
  }
}

/** Writes a key or the name of a tensor. */
export function writeName(writer: ByteWriter, name: string, what: string): void {
  const bytes = encodeText(name, what);
  if (name.includes("\0")) throw cannotEncode("bad-name", `${what}: it has a NUL in it`);
  if (bytes.byteLength > MAX_NAME_LENGTH)
    throw cannotEncode("bad-name", `${what}: it is over ${MAX_NAME_LENGTH} bytes`);
  writer.sized(bytes);
}

/** Makes the error for something that a header cannot represent. */
export function cannotEncode(code: ErrorCode, what: string, details: ErrorDetails = {}): FormatError {
  return operationError(FormatError, { ...details, code, doing: `write a GGUF header with ${what}` });
}

function numberOfType(type: GgufType): number {
  return VALUE_TYPES.findIndex(([name]) => name === type);
}

function writeValue(writer: ByteWriter, type: GgufType, value: GgufValue, what: string): void {
  const wrong = (): FormatError => cannotEncode("malformed", `${what}: its value is no ${type}`);
  if (type === "string") {
    if (typeof value === "string") writer.sized(encodeText(value, what));
    else if (value instanceof Uint8Array) writer.sized(value);
    else throw wrong();
  } else if (type === "array") {
    if (!(value instanceof GgufArray)) throw wrong();
    if (depthOf(value) > MAX_ARRAY_DEPTH) {
      throw cannotEncode("too-large", `${what}: it is nested over ${MAX_ARRAY_DEPTH} arrays deep`);
    }
    writer.uint32(numberOfType(value.type));
    writer.uint64(value.length);
    writer.bytes(value.bytes);
  } else writer.bytes(encodeScalar(type, value, what, wrong));
}

function depthOf(array: GgufArray): number {
  if (array.type !== "array") return 1;
  let deepest = 0;
  for (const inner of array) deepest = Math.max(deepest, depthOf(inner as GgufArray));
  return deepest + 1;
}

function encodeScalar(type: GgufType, value: GgufValue, what: string, wrong: () => FormatError): Uint8Array {
  const bytes = new Uint8Array(VALUE_BYTES.get(type) as number);
  const view = new DataView(bytes.buffer);
  const float = type === "float32" || type === "float64";
  if (float && value instanceof Uint8Array) {
    if (value.byteLength !== bytes.byteLength) throw wrong();
    return value;
  }
  if (type === "bool") {
    if (typeof value !== "boolean") throw wrong();
    bytes[0] = value ? 1 : 0;
  } else if (float) {
    if (typeof value !== "number") throw wrong();
    if (type === "float32") view.setFloat32(0, value, true);
    else view.setFloat64(0, value, true);
  } else {
    const whole = typeof value === "bigint" || Number.isSafeInteger(value);
    if (!whole) throw wrong();
    const integer = BigInt(value as bigint | number);
    const [least, most] = RANGES.get(type) as readonly [bigint, bigint];
    if (integer < least || integer > most)
      throw cannotEncode("out-of-range", `${what}: ${integer} is no ${type}`);
    const wide = new Uint8Array(8);
    new DataView(wide.buffer).setBigInt64(0, BigInt.asIntN(64, integer), true);
    bytes.set(wide.subarray(0, bytes.byteLength));
  }
  return bytes;
}

function encodeText(text: string, what: string): Uint8Array {
  if (/\p{Surrogate}/u.test(text))
    throw cannotEncode("malformed", `${what}: it has half of a surrogate pair`);
  return new TextEncoder().encode(text);
}
