import type { DType } from "../../tensor/dtype.ts";

/** First bytes of a GGUF file, in either byte order: "GGUF". */
export const MAGIC: readonly number[] = [0x47, 0x47, 0x55, 0x46];
/** Supported versions. Both have the same layout: version 3 only adds big-endian files. Version 1 has 32-bit counts. */
export const VERSIONS: readonly number[] = [2, 3];
/** Alignment of a file that has none in its metadata, in bytes. */
export const DEFAULT_ALIGNMENT = 32;
/** Bounds a header's padding, which is held in memory. Pages of 2 MiB are the largest that files are aligned to. */
const MAX_ALIGNMENT = 2 ** 26;
/** GGML_MAX_DIMS. */
export const MAX_DIMENSIONS = 4;

/** Longest key of the specification, in bytes. Tensor names have the same limit here; llama.cpp reads 63 bytes. */
export const MAX_NAME_LENGTH = 65_535;
/** Deepest nesting of arrays. The specification sets no limit; llama.cpp reads no nested arrays. */
export const MAX_ARRAY_DEPTH = 16;
/** Most metadata entries, each an object in memory. Files have some dozens. */
export const MAX_ENTRIES = 65_536;
/** Most tensors, each an object in memory. A model of 60 layers with 256 separate experts has 46,000. */
export const MAX_TENSORS = 262_144;

/** Metadata keys that define the layout of the file. */
export const Key = {
  alignment: "general.alignment",
  splitNo: "split.no",
  splitCount: "split.count",
  splitTensors: "split.tensors.count",
} as const;

/**
 * Types of metadata values by number, with the bytes of one value. Strings and arrays start with a length.
 * Source: enum gguf_metadata_value_type of https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
 */
export const VALUE_TYPES = [
  ["uint8", 1],
  ["int8", 1],
  ["uint16", 2],
  ["int16", 2],
  ["uint32", 4],
  ["int32", 4],
  ["float32", 4],
  ["bool", 1],
  ["string", undefined],
  ["array", undefined],
  ["uint64", 8],
  ["int64", 8],
  ["float64", 8],
] as const;

/** Type of a metadata value. */
export type GgufType = (typeof VALUE_TYPES)[number][0];

/** Bytes of one value; `undefined` for strings and arrays. */
export const VALUE_BYTES: ReadonlyMap<GgufType, number | undefined> = new Map(VALUE_TYPES);

/**
 * Types of tensors by number. 4, 5, 31 to 33 and 36 to 38 are retired; other numbers belong to forks.
 * Source: enum ggml_type of ggml.h in llama.cpp; the sizes are those of {@link DType}.
 */
export const TENSOR_TYPES: ReadonlyMap<number, DType> = new Map([
  [0, "float32"],
  [1, "float16"],
  [2, "q4_0"],
  [3, "q4_1"],
  [6, "q5_0"],
  [7, "q5_1"],
  [8, "q8_0"],
  [9, "q8_1"],
  [10, "q2_k"],
  [11, "q3_k"],
  [12, "q4_k"],
  [13, "q5_k"],
  [14, "q6_k"],
  [15, "q8_k"],
  [16, "iq2_xxs"],
  [17, "iq2_xs"],
  [18, "iq3_xxs"],
  [19, "iq1_s"],
  [20, "iq4_nl"],
  [21, "iq3_s"],
  [22, "iq2_s"],
  [23, "iq4_xs"],
  [24, "int8"],
  [25, "int16"],
  [26, "int32"],
  [27, "int64"],
  [28, "float64"],
  [29, "iq1_m"],
  [30, "bfloat16"],
  [34, "tq1_0"],
  [35, "tq2_0"],
  [39, "mxfp4"],
  [40, "nvfp4"],
  [41, "q1_0"],
  [42, "q2_0"],
]);

/** Whether a file can have the alignment: a power of two up to 2^26. */
export function isAlignment(value: number): boolean {
  const whole = Number.isInteger(value) && value > 0 && value <= MAX_ALIGNMENT;
  return whole && (value & (value - 1)) === 0;
}
