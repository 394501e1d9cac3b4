import { BLOCK_ELEMENTS, elementCount, tensorBytes } from "../../tensor/dtype.ts";
import { ByteWriter } from "../../io/byte-writer.ts";
import { shorten } from "../../errors.ts";
import {
  DEFAULT_ALIGNMENT,
  isAlignment,
  Key,
  MAGIC,
  MAX_DIMENSIONS,
  MAX_TENSORS,
  TENSOR_TYPES,
  VERSIONS,
} from "./schema.ts";
import { findEntry, type GgufMetadata } from "./values.ts";
import { cannotEncode, writeMetadata, writeName } from "./write-metadata.ts";

/** A tensor to list in a header. */
export interface GgufTensorSpec {
  readonly name: string;
  /** ggml's number of the type. */
  readonly type: number;
  /** Outermost dimension first. */
  readonly shape: readonly number[];
  /** In bytes. Required for unknown types only. */
  readonly length?: number;
}

/** A header to write. The result of `parseGgufHeader` is one. */
export interface GgufHeaderSpec {
  /** 3 by default. */
  readonly version?: number;
  readonly metadata: GgufMetadata;
  /** In the order of their data. */
  readonly tensors: readonly GgufTensorSpec[];
  /** In bytes; by default that of the metadata, or 32. Added to metadata that has none. */
  readonly alignment?: number;
}

/** An encoded header, and the places of the data after it. */
export interface EncodedGgufHeader {
  /** With padding: the data follows immediately. */
  readonly bytes: Uint8Array;
  /** Start of each tensor, in bytes from the start of the file. */
  readonly offsets: readonly number[];
  /** Size of the whole file, in bytes. Every tensor is padded with zeros, the last one too. */
  readonly size: number;
}

/**
 * Encodes the header of a GGUF file. A parsed header gives the same bytes.
 * Source: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
 * @throws FormatError `malformed`, `unsupported`, `bad-name`, `duplicate`, `out-of-range`, `size-mismatch`, `too-large`
 */
export function encodeGgufHeader(spec: GgufHeaderSpec): EncodedGgufHeader {
  const { version = 3, tensors } = spec;
  if (!VERSIONS.includes(version)) throw cannotEncode("unsupported", `version ${version}`);
  if (tensors.length > MAX_TENSORS) {
    throw cannotEncode("too-large", `${tensors.length} tensors, over ${MAX_TENSORS}`);
  }
  const { metadata, alignment } = aligned(spec);
  const writer = new ByteWriter();
  writer.bytes(Uint8Array.from(MAGIC));
  writer.uint32(version);
  writer.uint64(tensors.length);
  writer.uint64(metadata.length);
  writeMetadata(writer, metadata);
  const starts: number[] = [];
  const names = new Set<string>();
  let end = 0;
  for (const tensor of tensors) {
    const { name } = tensor;
    if (names.has(name)) throw cannotEncode("duplicate", `two tensors "${shorten(name)}"`, { tensor: name });
    names.add(name);
    const length = lengthOf(tensor);
    starts.push(end);
    writeTensor(writer, tensor, end);
    end = Math.ceil((end + length) / alignment) * alignment;
    if (!Number.isSafeInteger(end))
      throw cannotEncode("too-large", "over 2^53 bytes of tensors", { tensor: name });
  }
  writer.pad(alignment);
  const { length } = writer;
  return { bytes: writer.finish(), offsets: starts.map((start) => length + start), size: length + end };
}

function aligned({ metadata, alignment }: GgufHeaderSpec): { metadata: GgufMetadata; alignment: number } {
  const entry = findEntry(metadata, Key.alignment);
  const said = entry?.type === "uint32" ? Number(entry.value) : DEFAULT_ALIGNMENT;
  const chosen = alignment ?? said;
  if (entry && (entry.type !== "uint32" || chosen !== said)) {
    throw cannotEncode("malformed", `the alignment ${chosen}: its metadata has another one`);
  }
  if (!isAlignment(chosen))
    throw cannotEncode("malformed", `the alignment ${chosen}, no power of two up to 2^26`);
  if (entry || chosen === DEFAULT_ALIGNMENT) return { metadata, alignment: chosen };
  return {
    metadata: [...metadata, { key: Key.alignment, type: "uint32", value: chosen }],
    alignment: chosen,
  };
}

function writeTensor(writer: ByteWriter, { name, type, shape }: GgufTensorSpec, start: number): void {
  if (shape.length > MAX_DIMENSIONS) {
    const what = `tensor "${shorten(name)}" of ${shape.length} dimensions`;
    throw cannotEncode("unsupported", what, { tensor: name });
  }
  if (!Number.isInteger(type) || type < 0 || type >= 2 ** 32) {
    throw cannotEncode("unsupported", `tensor "${shorten(name)}" of type ${type}`, { tensor: name });
  }
  writeName(writer, name, `tensor "${shorten(name)}"`);
  writer.uint32(shape.length);
  for (const dimension of shape.toReversed()) writer.uint64(dimension);
  writer.uint32(type);
  writer.uint64(start);
}

/** Bytes of a tensor; checks its shape. */
function lengthOf({ name, type, shape, length }: GgufTensorSpec): number {
  const dtype = TENSOR_TYPES.get(type);
  const what = `tensor "${shorten(name)}" of shape [${shape.join(", ")}]`;
  if (elementCount(shape) === undefined) throw cannotEncode("too-large", what, { tensor: name });
  const bytes = dtype ? tensorBytes(dtype, shape) : length;
  if (bytes === undefined || !Number.isSafeInteger(bytes) || bytes < 0) {
    const blocks = dtype && BLOCK_ELEMENTS[dtype];
    const reason = blocks ? `${dtype} has blocks of ${blocks}` : `type ${type} is not known, nor its length`;
    throw cannotEncode("size-mismatch", `${what}: ${reason}`, { tensor: name });
  }
  if (length !== undefined && length !== bytes) {
    throw cannotEncode("size-mismatch", `${what}: it takes ${bytes} bytes, not ${length}`, { tensor: name });
  }
  return bytes;
}
