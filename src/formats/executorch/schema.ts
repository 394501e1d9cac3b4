import type { DType } from "../../tensor/dtype.ts";

/** The four letters after the root's offset, in programs and in data files. */
export const PROGRAM_IDENTIFIER = "ET12";
export const DATA_IDENTIFIER = "FT01";
/** Start of the identifiers of all versions. */
export const PROGRAM_LETTERS = "ET";
export const DATA_LETTERS = "FT";
/** First bytes of the header after them. */
export const PROGRAM_HEADER = "eh00";
export const DATA_HEADER = "FH01";
/** Bytes before the header. */
export const BEFORE_HEADER = 8;

/**
 * Field numbers of the tables.
 * Source: schema/program.fbs and extension/flat_tensor/serialize/flat_tensor.fbs of ExecuTorch 1.5.
 */
export const ProgramFields = {
  plans: 1,
  constantBuffer: 2,
  delegateData: 3,
  segments: 4,
  constantSegment: 5,
  mutableSegments: 6,
  namedData: 7,
} as const;
export const PlanFields = { name: 0, values: 2, inputs: 3, outputs: 4, delegates: 7 } as const;
export const ValueFields = { kind: 0, value: 1 } as const;
export const ProgramTensorFields = {
  type: 0,
  storageOffset: 1,
  sizes: 2,
  dimOrder: 3,
  buffer: 5,
  allocation: 6,
  dynamism: 8,
  extra: 9,
} as const;
export const ExtraFields = { mutableSegment: 0, name: 1, location: 2 } as const;
export const BufferFields = { storage: 0 } as const;
export const DelegateFields = { id: 0, processed: 1 } as const;
export const ReferenceFields = { location: 0, index: 1 } as const;
export const SegmentFields = { offset: 0, size: 1 } as const;
export const SubsegmentsFields = { segment: 0, offsets: 1 } as const;
export const NamedFields = { key: 0, segment: 1, layout: 2 } as const;
export const LayoutFields = { type: 0, sizes: 1, dimOrder: 2 } as const;
export const DataFields = { version: 0, segments: 1, namedData: 2 } as const;

/** Kinds of an EValue: integer, float, and tensor. */
export const INT_KIND = 2;
export const DOUBLE_KIND = 4;
export const TENSOR_KIND = 5;
/** `shape_dynamism` of a shape that is an upper bound, and of an unknown shape. */
export const BOUNDED = 1;
export const UNBOUNDED = 2;

/** An element type. */
export interface ScalarType {
  /** `undefined` for a type that tare does not have: its elements are plain bytes. */
  readonly dtype: DType | undefined;
  /** Bytes per element. */
  readonly width: number;
}

const TYPES: readonly (readonly [code: number, dtype: DType | undefined, width: number])[] = [
  [0, "uint8", 1],
  [1, "int8", 1],
  [2, "int16", 2],
  [3, "int32", 4],
  [4, "int64", 8],
  [5, "float16", 2],
  [6, "float32", 4],
  [7, "float64", 8],
  // complex of two float16
  [8, undefined, 4],
  [9, "complex64", 8],
  [10, "complex128", 16],
  [11, "bool", 1],
  // Quantized types, as the integers that store them.
  [12, "int8", 1],
  [13, "uint8", 1],
  [14, "int32", 4],
  [15, "bfloat16", 2],
  [22, "uint16", 2],
  [23, "float8_e5m2", 1],
  [24, "float8_e4m3fn", 1],
  [25, "float8_e5m2fnuz", 1],
  [26, "float8_e4m3fnuz", 1],
  [27, "uint16", 2],
  [28, "uint32", 4],
  [29, "uint64", 8],
];

/**
 * Element types by ExecuTorch's numbers, without those that pack several elements into a byte.
 * Source: schema/scalar_type.fbs of ExecuTorch 1.5.
 */
export const SCALAR_TYPES: ReadonlyMap<number, ScalarType> = new Map(
  TYPES.map(([code, dtype, width]) => [code, { dtype, width }]),
);
