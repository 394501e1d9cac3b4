import {
  eachField,
  type Field,
  type Frame,
  frameOf,
  malformed,
  requireWire,
  varintAt,
  Wire,
} from "../../encodings/protobuf/fields.ts";
import type { SparseBytes } from "../../encodings/protobuf/sparse-bytes.ts";
import { fileErrors, type FileFail, FormatError } from "../../errors.ts";
import { isDigest } from "../../tensor/digest.ts";
import { type DType, elementCount, tensorBytes } from "../../tensor/dtype.ts";
import type { OnnxTensor, TensorData } from "./graph.ts";
import { CHECKSUM, DATA_TYPES, EntryFields, TensorFields, TYPED_FIELDS } from "./schema.ts";

/** Typed fields whose packed form is the little-endian tensor itself. */
const FIXED_WIDTH: readonly number[] = [TensorFields.float, TensorFields.double];
const PAYLOADS: readonly number[] = [TensorFields.raw, ...Object.keys(TYPED_FIELDS).map(Number)];
/** Wire type of an unpacked element. */
const ELEMENT_WIRE: Readonly<Record<number, number>> = {
  [TensorFields.float]: Wire.fixed32,
  [TensorFields.double]: Wire.fixed64,
  [TensorFields.int32]: Wire.varint,
  [TensorFields.int64]: Wire.varint,
  [TensorFields.uint64]: Wire.varint,
};
/** Highest rank. ONNX sets no limit; every runtime has a lower one. */
export const MAX_RANK = 64;
/** Most entries of external data: location, offset, length, checksum, and those of engines. */
const MAX_ENTRIES = 1000;

/** A tensor without its surroundings. */
export type ParsedTensor = Omit<OnnxTensor, "role" | "field" | "graph">;

/** The fields of a tensor with elements. They are counted, since a file may have millions. */
interface Payloads {
  first?: Field;
  /** Fields with the number of the first. */
  count: number;
  /** First field with another number. */
  odd?: Field;
  /** First field with another wire type. */
  mixed?: Field;
}

/**
 * Parses a `TensorProto` and checks its size against dims × data type, without reading its elements.
 * @param path prefix of the tensor's name
 */
export function parseTensor(view: SparseBytes, frame: Frame, path: string): ParsedTensor {
  const dims: bigint[] = [];
  const payloads: Payloads = { count: 0 };
  const entries = new Map<string, string>();
  let dataType = 0;
  let local = "";
  let external = false;
  let segment: Field | undefined;
  eachField(view, frame.start, frame.end, (field) => {
    if (field.number === TensorFields.dims) readDims(view, field, dims);
    else if (field.number === TensorFields.dataType) dataType = readUint(view, field);
    else if (field.number === TensorFields.name) local = readString(view, field);
    else if (field.number === TensorFields.location) external = readUint(view, field) === 1;
    else if (field.number === TensorFields.external) readEntry(view, frameOf(field, frame, view), entries);
    else if (field.number === TensorFields.segment) segment = field;
    else if (PAYLOADS.includes(field.number)) addPayload(payloads, field);
  });

  const name = path + local;
  const inFile = fileErrors(view);
  const fail: FileFail = (code, reason, { offset = frame.start } = {}) =>
    inFile(code, reason, { tensor: name, offset });
  if (segment) throw fail("unsupported", "it is cut into segments", { offset: segment.start });
  const dtype = DATA_TYPES[dataType];
  if (!dtype) throw fail("unsupported", `its data type is ${dataType}`);
  if (dims.length > MAX_RANK) throw fail("malformed", `it has over ${MAX_RANK} dimensions`);
  // Dims are int64: a negative one is a varint of its two's complement.
  const shape = dims.map((dim) => Number(BigInt.asIntN(64, dim)));
  const count = elementCount(shape);
  if (count === undefined)
    throw fail("size-mismatch", `its shape [${shape.join(", ")}] is negative or too large`);

  let data: TensorData;
  if (external) {
    const { first } = payloads;
    if (first) throw fail("malformed", "it has data here and in another file", { offset: first.start });
    if (dtype === "string") throw fail("unsupported", "strings cannot be external data");
    data = externalData(entries, sizeOf(dtype, shape, fail), fail);
  } else data = inlineData(view, payloads, dtype, shape, count, fail);
  return { name, local, dtype, shape, data, frame };
}

function addPayload(payloads: Payloads, field: Field): void {
  // An empty field holds no data, unless it is an empty string.
  if (field.end === field.body && field.number !== TensorFields.string) return;
  payloads.first ??= field;
  if (field.number !== payloads.first.number) payloads.odd ??= field;
  else payloads.count++;
  if (field.wire !== payloads.first.wire) payloads.mixed ??= field;
}

function inlineData(
  view: SparseBytes,
  payloads: Payloads,
  dtype: DType | "string",
  shape: readonly number[],
  count: number,
  fail: FileFail,
): TensorData {
  const { first, odd, mixed } = payloads;
  if (!first) {
    // Strings may all be empty; a tensor without elements has no data in any form.
    if (count > 0 && dtype !== "string") throw fail("size-mismatch", `it has no data for ${count} elements`);
    return { kind: "other" };
  }
  if (odd) throw fail("malformed", "its data is in two fields", { offset: odd.start });
  const { number, wire, body: offset } = first;
  if (number !== TensorFields.raw && !TYPED_FIELDS[number]?.includes(dtype)) {
    throw fail("malformed", `${dtype} elements are in field ${number}`, { offset: first.start });
  }
  if (dtype === "string") {
    if (payloads.count !== count)
      throw fail("size-mismatch", `it has ${payloads.count} strings for ${count}`);
    for (const field of [first, mixed]) if (field) requireWire(field, Wire.bytes, view);
    return { kind: "other" };
  }
  if (number === TensorFields.raw) requireWire(first, Wire.bytes, view);
  if (payloads.count > 1 || wire !== Wire.bytes) {
    if (number === TensorFields.raw)
      throw fail("malformed", "it has raw_data twice", { offset: first.start });
    // Unpacked fields are legal, rare and small. The elements stay in the program.
    if (mixed || wire === Wire.bytes)
      throw fail("unsupported", "its data is in several packed runs", { offset: first.start });
    requireWire(first, ELEMENT_WIRE[number] as number, view);
    const elements = elementsStored(number, dtype, count);
    if (payloads.count !== elements) {
      throw fail("size-mismatch", `it has ${payloads.count} elements for ${elements}`, {
        offset: first.start,
      });
    }
    return { kind: "other" };
  }
  const length = first.end - first.body;
  if (number === TensorFields.raw || FIXED_WIDTH.includes(number)) {
    const expected = sizeOf(dtype, shape, fail);
    if (length !== expected) {
      throw fail(
        "size-mismatch",
        `[${shape.join(", ")}] ${dtype} takes ${expected} bytes, ${length} are there`,
        { offset },
      );
    }
    return { kind: "plain", offset, length };
  }
  // The reader checks the number of varints. Here they are checked to be possible.
  const elements = elementsStored(number, dtype, count);
  if (length < elements || length > elements * 10) {
    throw fail("size-mismatch", `${elements} varints cannot take ${length} bytes`, { offset });
  }
  return { kind: "varint", offset, length };
}

/** How many numbers a typed field holds for a tensor: complex elements count twice, sub-byte elements are packed. */
function elementsStored(field: number, dtype: DType, count: number): number {
  if (dtype === "complex64" || dtype === "complex128") return count * 2;
  if (field !== TensorFields.int32) return count;
  if (dtype === "int4" || dtype === "uint4" || dtype === "float4_e2m1") return Math.ceil(count / 2);
  return dtype === "int2" || dtype === "uint2" ? Math.ceil(count / 4) : count;
}

function externalData(entries: ReadonlyMap<string, string>, expected: number, fail: FileFail): TensorData {
  const location = entries.get("location");
  if (!location) throw fail("malformed", "its external data has no location");
  const number = (key: string, absent: number): number => {
    const text = entries.get(key);
    if (text === undefined) return absent;
    const value = /^\d{1,16}$/.test(text) ? Number(text) : Number.NaN;
    if (!Number.isSafeInteger(value))
      throw fail("malformed", `the ${key} of its external data is "${text.slice(0, 40)}"`);
    return value;
  };
  const offset = number("offset", 0);
  // Some writers put 0 for a length that they leave to the shape.
  const length = number("length", expected) || expected;
  if (length !== expected) {
    throw fail("size-mismatch", `its shape takes ${expected} bytes, its external data has ${length}`);
  }
  if (!Number.isSafeInteger(offset + length)) throw fail("malformed", `its external data ends past 2^53`);
  // Other writers put the SHA-1 of the whole file there.
  const digest = entries.get(CHECKSUM) ?? "";
  return { kind: "external", location, offset, length, ...(isDigest(digest) && { digest }) };
}

function sizeOf(dtype: DType, shape: readonly number[], fail: FileFail): number {
  const bytes = tensorBytes(dtype, shape);
  if (bytes === undefined) throw fail("size-mismatch", `its shape [${shape.join(", ")}] is too large`);
  return bytes;
}

/** Stops past the highest rank, which the caller refuses. */
function readDims(view: SparseBytes, field: Field, dims: bigint[]): void {
  if (dims.length > MAX_RANK) return;
  if (field.wire === Wire.varint) {
    dims.push(field.value);
    return;
  }
  requireWire(field, Wire.bytes, view);
  const bytes = view.slice(field.body, field.end - field.body);
  for (let at = 0; at < bytes.byteLength && dims.length <= MAX_RANK; ) {
    const varint = varintAt(bytes, at, bytes.byteLength);
    if (!varint) throw malformed(view, field.body + at, "a dimension is cut off");
    dims.push(varint.value);
    at = varint.end;
  }
}

function readEntry(view: SparseBytes, frame: Frame, entries: Map<string, string>): void {
  let key = "";
  let value = "";
  eachField(view, frame.start, frame.end, (field) => {
    if (field.number === EntryFields.key) key = readString(view, field);
    else if (field.number === EntryFields.value) value = readString(view, field);
  });
  if (entries.size >= MAX_ENTRIES) throw malformed(view, frame.start, "external data has too many entries");
  if (entries.has(key)) throw malformed(view, frame.start, `external data says "${key}" twice`);
  entries.set(key, value);
}

const UTF8 = new TextDecoder("utf-8", { fatal: true });

/** Reads a string field, and refuses one that is not UTF-8. */
export function readString(view: SparseBytes, field: Field): string {
  requireWire(field, Wire.bytes, view);
  try {
    return UTF8.decode(view.slice(field.body, field.end - field.body));
  } catch (cause) {
    if (cause instanceof FormatError) throw cause;
    throw malformed(view, field.body, "a name is not UTF-8");
  }
}

/** Reads a string field that may be dropped: empty if it is not UTF-8. */
export function readHint(view: SparseBytes, field: Field): string {
  try {
    return readString(view, field);
  } catch (error) {
    if (error instanceof FormatError) return "";
    throw error;
  }
}

/** Reads a varint that must be a safe whole number. */
export function readUint(view: SparseBytes, field: Field): number {
  requireWire(field, Wire.varint, view);
  if (field.value > BigInt(Number.MAX_SAFE_INTEGER)) {
    throw malformed(view, field.start, `field ${field.number} is ${field.value}`);
  }
  return Number(field.value);
}

/** Reads a varint as an int64: `-1` means an unknown dimension in some files. */
export function readInt(view: SparseBytes, field: Field): number {
  requireWire(field, Wire.varint, view);
  return Number(BigInt.asIntN(64, field.value));
}
