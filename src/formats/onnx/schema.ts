import type { MessageShape } from "../../encodings/protobuf/fetch-skeleton.ts";
import type { DType } from "../../tensor/dtype.ts";

/** Field numbers of onnx.proto (ONNX 1.23, IR version 14) that tare uses. */
export const ModelFields = {
  irVersion: 1,
  graph: 7,
  opsetImport: 8,
  trainingInfo: 20,
  functions: 25,
} as const;
export const OpsetFields = { domain: 1, version: 2 } as const;
export const TrainingFields = { initialization: 1, algorithm: 2 } as const;
export const GraphFields = {
  node: 1,
  name: 2,
  initializer: 5,
  input: 11,
  output: 12,
  valueInfo: 13,
  sparse: 15,
} as const;
export const FuncFields = { name: 1, domain: 10, node: 7, attribute: 11, overload: 13 } as const;
export const NodeFields = { input: 1, output: 2, name: 3, opType: 4, attribute: 5, domain: 7 } as const;
export const AttributeFields = {
  name: 1,
  int: 3,
  tensor: 5,
  graph: 6,
  tensors: 10,
  graphs: 11,
  type: 20,
  sparse: 22,
  sparses: 23,
} as const;
export const TensorFields = {
  dims: 1,
  dataType: 2,
  segment: 3,
  float: 4,
  int32: 5,
  string: 6,
  int64: 7,
  name: 8,
  raw: 9,
  double: 10,
  uint64: 11,
  external: 13,
  location: 14,
} as const;
export const SparseFields = { values: 1, indices: 2, dims: 3 } as const;
export const EntryFields = { key: 1, value: 2 } as const;
/** Key of external data. */
export const CHECKSUM = "checksum";
export const ValueInfoFields = { name: 1, type: 2 } as const;
export const TypeFields = { tensor: 1 } as const;
export const TensorTypeFields = { elemType: 1, shape: 2 } as const;
export const ShapeFields = { dim: 1 } as const;
export const DimFields = { value: 1, param: 2 } as const;

/** `TensorProto.DataType` by number. */
export const DATA_TYPES: Readonly<Record<number, DType | "string">> = {
  1: "float32",
  2: "uint8",
  3: "int8",
  4: "uint16",
  5: "int16",
  6: "int32",
  7: "int64",
  8: "string",
  9: "bool",
  10: "float16",
  11: "float64",
  12: "uint32",
  13: "uint64",
  14: "complex64",
  15: "complex128",
  16: "bfloat16",
  17: "float8_e4m3fn",
  18: "float8_e4m3fnuz",
  19: "float8_e5m2",
  20: "float8_e5m2fnuz",
  21: "uint4",
  22: "int4",
  23: "float4_e2m1",
  24: "float8_e8m0",
  25: "uint2",
  26: "int2",
  27: "float6_e2m3",
  28: "float6_e3m2",
};

/** The number of a dtype in `TensorProto.DataType`. */
export function dataTypeNumber(dtype: DType | "string"): number {
  return Number(Object.keys(DATA_TYPES).find((number) => DATA_TYPES[Number(number)] === dtype));
}

/** Data types whose elements each typed field may hold. */
export const TYPED_FIELDS: Readonly<Record<number, readonly (DType | "string")[]>> = {
  [TensorFields.float]: ["float32", "complex64"],
  [TensorFields.double]: ["float64", "complex128"],
  [TensorFields.int64]: ["int64"],
  [TensorFields.uint64]: ["uint32", "uint64"],
  [TensorFields.string]: ["string"],
  [TensorFields.int32]: [
    "int32",
    "int16",
    "int8",
    "int4",
    "int2",
    "uint16",
    "uint8",
    "uint4",
    "uint2",
    "bool",
    "float16",
    "bfloat16",
    "float8_e4m3fn",
    "float8_e4m3fnuz",
    "float8_e5m2",
    "float8_e5m2fnuz",
    "float8_e8m0",
    "float4_e2m1",
    "float6_e2m3",
    "float6_e3m2",
  ],
};

/**
 * Inputs whose values determine shapes. ONNX Runtime's shape inference and optimizers read them, so they are part of
 * the program, whatever their dtype.
 */
export const SHAPE_INPUTS: Readonly<Record<string, readonly number[]>> = {
  AffineGrid: [1],
  CenterCropPad: [1],
  ConstantOfShape: [0],
  DFT: [1, 2],
  Expand: [1],
  Pad: [1, 3],
  ReduceL1: [1],
  ReduceL2: [1],
  ReduceLogSum: [1],
  ReduceLogSumExp: [1],
  ReduceMax: [1],
  ReduceMean: [1],
  ReduceMin: [1],
  ReduceProd: [1],
  ReduceSum: [1],
  ReduceSumSquare: [1],
  Reshape: [1],
  Resize: [1, 2, 3],
  Slice: [1, 2, 3, 4],
  Split: [1],
  SplitToSequence: [1],
  Squeeze: [1],
  Tile: [1, 2],
  TopK: [1],
  Unsqueeze: [1],
  Upsample: [1],
};

const tensor: MessageShape = {
  [TensorFields.float]: "payload",
  [TensorFields.int32]: "payload",
  [TensorFields.int64]: "payload",
  [TensorFields.raw]: "payload",
  [TensorFields.double]: "payload",
  [TensorFields.uint64]: "payload",
};
const sparse: MessageShape = { [SparseFields.values]: () => tensor, [SparseFields.indices]: () => tensor };
const attribute: MessageShape = {
  [AttributeFields.tensor]: () => tensor,
  [AttributeFields.graph]: () => graph,
  [AttributeFields.tensors]: () => tensor,
  [AttributeFields.graphs]: () => graph,
  [AttributeFields.sparse]: () => sparse,
  [AttributeFields.sparses]: () => sparse,
};
const node: MessageShape = { [NodeFields.attribute]: () => attribute };
const graph: MessageShape = {
  [GraphFields.node]: () => node,
  [GraphFields.initializer]: () => tensor,
  [GraphFields.sparse]: () => sparse,
};
const func: MessageShape = { [FuncFields.node]: () => node, [FuncFields.attribute]: () => attribute };
const training: MessageShape = {
  [TrainingFields.initialization]: () => graph,
  [TrainingFields.algorithm]: () => graph,
};

/** The fields of a `ModelProto` that may hold large payloads. */
export const MODEL_SHAPE: MessageShape = {
  [ModelFields.graph]: () => graph,
  [ModelFields.trainingInfo]: () => training,
  [ModelFields.functions]: () => func,
};
