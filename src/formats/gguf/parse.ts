import type { FormatError } from "../../errors.ts";
import { GgufCursor, toSafeNumber, within } from "./cursor.ts";
import { type GgufFile, ggufErrors } from "./file.ts";
import { MIN_ENTRY_BYTES, parseMetadata } from "./parse-metadata.ts";
import {
  alignOffset,
  type GgufTensor,
  MIN_TENSOR_BYTES,
  parseTensorInfos,
  placeTensors,
} from "./parse-tensors.ts";
import { DEFAULT_ALIGNMENT, isAlignment, Key, MAGIC, MAX_ENTRIES, MAX_TENSORS, VERSIONS } from "./schema.ts";
import { findEntry, type GgufMetadata } from "./values.ts";

/** The header of a GGUF file: everything before its data. */
export interface GgufHeader {
  /** 2 or 3. */
  readonly version: number;
  /** In the order of the file. */
  readonly metadata: GgufMetadata;
  /** In the order of the file, which is that of their data. */
  readonly tensors: readonly GgufTensor[];
  /** Tensors start at multiples of it, counted from `dataStart`, in bytes. */
  readonly alignment: number;
  /** Start of the data: the size of the header and its padding, in bytes. */
  readonly dataStart: number;
}

/**
 * Parses the header of a GGUF file, version 2 or 3, little-endian. The data itself is not needed.
 * Source: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md, and gguf.cpp of llama.cpp.
 * @param bytes the start of the file, of any length
 * @returns `undefined` if the header is longer than `bytes`
 * @throws FormatError `unknown-format`; `unsupported` (other versions, big-endian files); `malformed`, `duplicate`,
 * `too-large`; `size-mismatch` if data is cut off
 */
export function parseGgufHeader(bytes: Uint8Array, file: GgufFile): GgufHeader | undefined {
  return within(() => parseHeader(new GgufCursor(bytes, file)));
}

function parseHeader(cursor: GgufCursor): GgufHeader {
  const { file } = cursor;
  const magic = cursor.take(MAGIC.length, "the magic number");
  if (magic.some((byte, index) => byte !== MAGIC[index])) {
    throw ggufErrors(file)("unknown-format", "it does not start with GGUF", {
      offset: 0,
      hint: "Is this a GGUF file?",
    });
  }
  const version = parseVersion(cursor);
  const tensorCount = cursor.count("the number of tensors", MIN_TENSOR_BYTES, MAX_TENSORS);
  const entryCount = cursor.count("the number of metadata entries", MIN_ENTRY_BYTES, MAX_ENTRIES);
  const metadata = parseMetadata(cursor, entryCount);
  const alignment = alignmentOf(metadata, file);
  const infos = parseTensorInfos(cursor, tensorCount);
  const aligned = alignOffset(BigInt(cursor.at), BigInt(alignment));
  const fail = (): FormatError =>
    ggufErrors(file)("malformed", `its data starts at byte ${aligned}, past the end`, { offset: cursor.at });
  const padded = toSafeNumber(aligned, fail);
  // A file without tensors may lack the padding: some writers leave it out.
  const dataStart = infos.length > 0 || padded <= file.size ? padded : cursor.at;
  const tensors = placeTensors(infos, dataStart, alignment, file);
  return { version, metadata, tensors, alignment, dataStart };
}

function parseVersion(cursor: GgufCursor): number {
  const { file, at } = cursor;
  const version = cursor.uint32("the version");
  if (VERSIONS.includes(version)) return version;
  if ((version & 0xffff) === 0 && version !== 0) {
    throw ggufErrors(file)("unsupported", "it is big-endian", {
      offset: at,
      hint: "Convert it with gguf_convert_endian of llama.cpp's gguf package",
    });
  }
  throw ggufErrors(file)("unsupported", `its GGUF version is ${version}, tare reads 2 and 3`, {
    offset: at,
    hint: version === 1 ? "Convert the model again with a current llama.cpp" : undefined,
  });
}

/** The alignment of a file's tensors, in bytes. */
function alignmentOf(metadata: GgufMetadata, file: GgufFile): number {
  const entry = findEntry(metadata, Key.alignment);
  if (!entry) return DEFAULT_ALIGNMENT;
  const { type, value } = entry;
  if (type !== "uint32") {
    throw ggufErrors(file)("malformed", `its "${Key.alignment}" is of type ${type}, not uint32`);
  }
  const alignment = value as number;
  if (isAlignment(alignment)) return alignment;
  throw ggufErrors(file)("malformed", `its "${Key.alignment}" is ${alignment}, no power of two up to 2^26`);
}
