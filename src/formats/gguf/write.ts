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

/** A tensor that a header is to announce. */
export interface GgufTensorSpec {
  readonly name: string;
  /** ggml's number of the type. */
  readonly type: number;
  /** Outermost dimension first. */
  readonly shape: readonly number[];
  /** In bytes. Needed for types that are not known here only. */
  readonly length?: number;
}

/** What to write; what `parseGgufHeader` gives fits. */
export interface GgufHeaderSpec {
  /** 3 if left out. */
  readonly version?: number;
  readonly metadata: GgufMetadata;
  /** In the order of their data. */
  readonly tensors: readonly GgufTensorSpec[];
  /** That of the metadata, or 32, if left out. Another one is added to metadata that says none. */
  readonly alignment?: number;
}

/** A header, and where the data that follows it goes. */
export interface EncodedGgufHeader {
  /** Padded: the data follows at once. */
  readonly bytes: Uint8Array;
  /** Where each tensor starts, in bytes from the start of the file. */
  readonly offsets: readonly number[];
  /** Of the whole file, in bytes; the last tensor is padded as all are, with zeros. */
  readonly size: number;
}

/**
 * Writes the header of a GGUF file: for a parsed one, the same bytes.
 * Source: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
 * @throws FormatError `malformed`, `unsupported`, `bad-name`, `duplicate`, `out-of-range`, `size-mismatch`,
 * `too-large`
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

/** Bytes of a tensor, which its shape must allow. */
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
