import { BinaryWriter, WireType } from "@bufbuild/protobuf/wire";

/**
 * Numbers of `TensorProto.DataType`, copied from onnx.proto and not from src/: a builder that shared its tables
 * with the reader could not find a mistake in them.
 */
export const DATA_TYPE = {
  float32: 1,
  uint8: 2,
  int8: 3,
  uint16: 4,
  int16: 5,
  int32: 6,
  int64: 7,
  string: 8,
  bool: 9,
  float16: 10,
  float64: 11,
  uint32: 12,
  uint64: 13,
  complex64: 14,
  complex128: 15,
  bfloat16: 16,
  float8_e4m3fn: 17,
  float8_e4m3fnuz: 18,
  float8_e5m2: 19,
  float8_e5m2fnuz: 20,
  uint4: 21,
  int4: 22,
  float4_e2m1: 23,
  float8_e8m0: 24,
  uint2: 25,
  int2: 26,
  float6_e2m3: 27,
  float6_e3m2: 28,
} as const;

export type OnnxDType = keyof typeof DATA_TYPE;

/** Numbers of the fields that hold a tensor's elements. */
export const DATA_FIELD = {
  float: 4,
  int32: 5,
  string: 6,
  int64: 7,
  raw: 9,
  double: 10,
  uint64: 11,
} as const;
export type TypedField = Exclude<keyof typeof DATA_FIELD, "raw" | "string">;

/** An encoded message, without the tag and length that its parent gives it. */
export type Message = Uint8Array;

/** How a tensor's elements are stored. */
export type Data =
  | { readonly raw: Uint8Array }
  /** In the typed field of the dtype, or in the one that is named. */
  | { readonly packed: readonly (number | bigint)[]; readonly field?: TypedField }
  | { readonly unpacked: readonly (number | bigint)[]; readonly field?: TypedField }
  | { readonly strings: readonly string[] }
  /** Entries in the order given: `location`, `offset`, `length` and others. */
  | { readonly external: Readonly<Record<string, string | number>> }
  | { readonly none: true };

/** The float32 values as raw data. */
export function floats(...values: number[]): Data {
  return { raw: new Uint8Array(Float32Array.from(values).buffer) };
}

/** The int64 values as raw data. */
export function ints(...values: number[]): Data {
  return { raw: new Uint8Array(BigInt64Array.from(values, BigInt).buffer) };
}

/** A `TensorProto`. */
export function tensor(
  name: string,
  dtype: OnnxDType | number,
  dims: readonly (number | bigint)[],
  data: Data,
  options: { readonly packedDims?: boolean } = {},
): Message {
  const writer = new BinaryWriter();
  if (options.packedDims) {
    writer.tag(1, WireType.LengthDelimited).fork();
    for (const dim of dims) writer.int64(String(dim));
    writer.join();
  } else for (const dim of dims) writer.tag(1, WireType.Varint).int64(String(dim));
  writer.tag(2, WireType.Varint).int32(typeof dtype === "number" ? dtype : DATA_TYPE[dtype]);
  if ("packed" in data) {
    const field = data.field ?? typedField(dtype);
    writer.tag(DATA_FIELD[field], WireType.LengthDelimited).fork();
    for (const value of data.packed) writeElement(writer, field, value);
    writer.join();
  } else if ("unpacked" in data) {
    const field = data.field ?? typedField(dtype);
    const wire = field === "float" ? WireType.Bit32 : field === "double" ? WireType.Bit64 : WireType.Varint;
    for (const value of data.unpacked) {
      writer.tag(DATA_FIELD[field], wire);
      writeElement(writer, field, value);
    }
  } else if ("strings" in data) {
    for (const text of data.strings) writer.tag(DATA_FIELD.string, WireType.LengthDelimited).string(text);
  }
  if (name !== "") writer.tag(8, WireType.LengthDelimited).string(name);
  if ("raw" in data) writer.tag(DATA_FIELD.raw, WireType.LengthDelimited).bytes(data.raw);
  if ("external" in data) {
    for (const [key, value] of Object.entries(data.external)) {
      writer.tag(13, WireType.LengthDelimited).fork();
      writer.tag(1, WireType.LengthDelimited).string(key);
      writer.tag(2, WireType.LengthDelimited).string(String(value)).join();
    }
    writer.tag(14, WireType.Varint).int32(1);
  }
  return writer.finish();
}

/** The typed field that onnx.proto gives a dtype. */
function typedField(dtype: OnnxDType | number): TypedField {
  switch (dtype) {
    case "float32":
    case "complex64":
      return "float";
    case "float64":
    case "complex128":
      return "double";
    case "int64":
      return "int64";
    case "uint32":
    case "uint64":
      return "uint64";
    default:
      return "int32";
  }
}

function writeElement(writer: BinaryWriter, field: TypedField, value: number | bigint): void {
  if (field === "float") writer.float(Number(value));
  else if (field === "double") writer.double(Number(value));
  else if (field === "uint64") writer.uint64(String(value));
  else if (field === "int64") writer.int64(String(value));
  else writer.int32(Number(value));
}

/** A `SparseTensorProto`. */
export function sparseTensor(values: Message, indices: Message, dims: readonly number[]): Message {
  const writer = new BinaryWriter();
  writer.tag(1, WireType.LengthDelimited).bytes(values);
  writer.tag(2, WireType.LengthDelimited).bytes(indices);
  for (const dim of dims) writer.tag(3, WireType.Varint).int64(dim);
  return writer.finish();
}

/** A value of an `AttributeProto`; the key says its type. */
export type AttributeValue =
  | { readonly float: number }
  | { readonly int: number }
  | { readonly string: string }
  | { readonly tensor: Message }
  | { readonly graph: Message }
  | { readonly sparse: Message }
  | { readonly floats: readonly number[] }
  | { readonly ints: readonly number[] }
  | { readonly tensors: readonly Message[] }
  | { readonly graphs: readonly Message[] }
  | { readonly sparses: readonly Message[] }
  /** Of a node in a function: the attribute of the function that it takes its value from, and its type. */
  | { readonly reference: string; readonly type: number };

/** An `AttributeProto`. */
export function attribute(name: string, value: AttributeValue): Message {
  const writer = new BinaryWriter().tag(1, WireType.LengthDelimited).string(name);
  const many = (field: number, messages: readonly Message[]): void => {
    for (const message of messages) writer.tag(field, WireType.LengthDelimited).bytes(message);
  };
  let type: number;
  if ("float" in value) {
    type = 1;
    writer.tag(2, WireType.Bit32).float(value.float);
  } else if ("int" in value) {
    type = 2;
    writer.tag(3, WireType.Varint).int64(value.int);
  } else if ("string" in value) {
    type = 3;
    writer.tag(4, WireType.LengthDelimited).string(value.string);
  } else if ("tensor" in value) {
    type = 4;
    many(5, [value.tensor]);
  } else if ("graph" in value) {
    type = 5;
    many(6, [value.graph]);
  } else if ("floats" in value) {
    type = 6;
    for (const each of value.floats) writer.tag(7, WireType.Bit32).float(each);
  } else if ("ints" in value) {
    type = 7;
    for (const each of value.ints) writer.tag(8, WireType.Varint).int64(each);
  } else if ("tensors" in value) {
    type = 9;
    many(10, value.tensors);
  } else if ("graphs" in value) {
    type = 10;
    many(11, value.graphs);
  } else if ("sparse" in value) {
    type = 11;
    many(22, [value.sparse]);
  } else if ("sparses" in value) {
    type = 12;
    many(23, value.sparses);
  } else {
    type = value.type;
    writer.tag(21, WireType.LengthDelimited).string(value.reference);
  }
  return writer.tag(20, WireType.Varint).int32(type).finish();
}

export type Attributes = Readonly<Record<string, AttributeValue>>;

/** A `NodeProto`; an operator of another domain is written `domain::Operator`. */
export function node(
  operator: string,
  inputs: readonly string[],
  outputs: readonly string[],
  attributes: Attributes = {},
  name = "",
): Message {
  const cut = operator.lastIndexOf("::");
  const writer = new BinaryWriter();
  for (const input of inputs) writer.tag(1, WireType.LengthDelimited).string(input);
  for (const output of outputs) writer.tag(2, WireType.LengthDelimited).string(output);
  if (name !== "") writer.tag(3, WireType.LengthDelimited).string(name);
  writer.tag(4, WireType.LengthDelimited).string(cut < 0 ? operator : operator.slice(cut + 2));
  for (const [name, value] of Object.entries(attributes)) {
    writer.tag(5, WireType.LengthDelimited).bytes(attribute(name, value));
  }
  if (cut >= 0) writer.tag(7, WireType.LengthDelimited).string(operator.slice(0, cut));
  return writer.finish();
}

/** A `Constant` node. */
export function constant(output: string, value: Message): Message {
  return node("Constant", [], [output], { value: { tensor: value } });
}

/** A `ValueInfoProto` of a dense tensor; without a shape even the rank is unknown. */
export function value(name: string, dtype: OnnxDType, shape?: readonly (number | string)[]): Message {
  const writer = new BinaryWriter().tag(1, WireType.LengthDelimited).string(name);
  writer.tag(2, WireType.LengthDelimited).fork().tag(1, WireType.LengthDelimited).fork();
  writer.tag(1, WireType.Varint).int32(DATA_TYPE[dtype]);
  if (shape) {
    writer.tag(2, WireType.LengthDelimited).fork();
    for (const dim of shape) {
      writer.tag(1, WireType.LengthDelimited).fork();
      if (typeof dim === "number") writer.tag(1, WireType.Varint).int64(dim).join();
      else writer.tag(2, WireType.LengthDelimited).string(dim).join();
    }
    writer.join();
  }
  return writer.join().join().finish();
}

export interface GraphParts {
  readonly name?: string;
  readonly nodes?: readonly Message[];
  readonly initializers?: readonly Message[];
  readonly inputs?: readonly Message[];
  readonly outputs?: readonly Message[];
  readonly sparse?: readonly Message[];
}

/** A `GraphProto`. */
export function graph(parts: GraphParts): Message {
  const writer = new BinaryWriter();
  const many = (field: number, messages: readonly Message[] = []): void => {
    for (const message of messages) writer.tag(field, WireType.LengthDelimited).bytes(message);
  };
  many(1, parts.nodes);
  writer.tag(2, WireType.LengthDelimited).string(parts.name ?? "g");
  many(5, parts.initializers);
  many(11, parts.inputs);
  many(12, parts.outputs);
  many(15, parts.sparse);
  return writer.finish();
}

export interface FunctionParts {
  readonly domain: string;
  readonly name: string;
  readonly overload?: string;
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  readonly nodes: readonly Message[];
  readonly opsets?: Readonly<Record<string, number>>;
  /** Attributes with a default. */
  readonly attributes?: Attributes;
}

/** A `FunctionProto`. */
export function func(parts: FunctionParts): Message {
  const writer = new BinaryWriter().tag(1, WireType.LengthDelimited).string(parts.name);
  for (const input of parts.inputs) writer.tag(4, WireType.LengthDelimited).string(input);
  for (const output of parts.outputs) writer.tag(5, WireType.LengthDelimited).string(output);
  for (const each of parts.nodes) writer.tag(7, WireType.LengthDelimited).bytes(each);
  writeOpsets(writer, 9, parts.opsets ?? { "": 17 });
  writer.tag(10, WireType.LengthDelimited).string(parts.domain);
  for (const [name, each] of Object.entries(parts.attributes ?? {})) {
    writer.tag(11, WireType.LengthDelimited).bytes(attribute(name, each));
  }
  if (parts.overload) writer.tag(13, WireType.LengthDelimited).string(parts.overload);
  return writer.finish();
}

export interface ModelParts {
  /** IR version; 8 unless given. */
  readonly ir?: number;
  /** Version by domain; opset 17 unless given. */
  readonly opsets?: Readonly<Record<string, number>>;
  readonly graph: Message;
  readonly functions?: readonly Message[];
  /** Graphs of `TrainingInfoProto`s. */
  readonly training?: readonly { readonly initialization?: Message; readonly algorithm?: Message }[];
}

/** A `ModelProto`, the graph last: whatever is cut off of the file, the graph is cut. */
export function model(parts: ModelParts): Message {
  const writer = new BinaryWriter().tag(1, WireType.Varint).int64(parts.ir ?? 8);
  writeOpsets(writer, 8, parts.opsets ?? { "": 17 });
  for (const { initialization, algorithm } of parts.training ?? []) {
    writer.tag(20, WireType.LengthDelimited).fork();
    if (initialization) writer.tag(1, WireType.LengthDelimited).bytes(initialization);
    if (algorithm) writer.tag(2, WireType.LengthDelimited).bytes(algorithm);
    writer.join();
  }
  for (const each of parts.functions ?? []) writer.tag(25, WireType.LengthDelimited).bytes(each);
  return writer.tag(7, WireType.LengthDelimited).bytes(parts.graph).finish();
}

function writeOpsets(writer: BinaryWriter, field: number, opsets: Readonly<Record<string, number>>): void {
  for (const [domain, version] of Object.entries(opsets)) {
    writer.tag(field, WireType.LengthDelimited).fork();
    if (domain !== "") writer.tag(1, WireType.LengthDelimited).string(domain);
    writer.tag(2, WireType.Varint).int64(version).join();
  }
}
