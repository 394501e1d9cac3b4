import { BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import type { Digest } from "../../tensor/digest.ts";
import type { DType } from "../../tensor/dtype.ts";
import type { PrepackedEntry } from "../../model/prepacked-weight.ts";
import type { OnnxValue } from "./graph.ts";
import { formatPrepacked, PREPACKED } from "./prepacked.ts";
import {
  CHECKSUM,
  dataTypeNumber,
  DimFields,
  EntryFields,
  GraphFields,
  ModelFields,
  NodeFields,
  OpsetFields,
  ShapeFields,
  TensorFields,
  TensorTypeFields,
  TypeFields,
  ValueInfoFields,
} from "./schema.ts";

/** The place of a tensor's bytes for an engine: in a file beside the model, or in the model itself. */
export type TensorBinding =
  | {
      readonly kind: "file";
      readonly location: string;
      readonly offset: number;
      readonly length: number;
      /** Digest of the tensor's bytes, which tare writes in the place of the file's SHA-1. */
      readonly digest?: Digest | undefined;
      /** Prepacked copies in the same file. */
      readonly prepacked?: readonly PrepackedEntry[];
    }
  | { readonly kind: "inline"; readonly bytes: Uint8Array }
  /** In the model itself: the end of the encoded message, which follows it. */
  | { readonly kind: "following"; readonly length: number };

/** The name and type of an input or output. */
export type ValueType = Pick<OnnxValue, "name" | "dtype" | "shape">;

/** Encodes a `TensorProto` without its field tag. */
export function encodeTensor(
  name: string,
  dtype: DType,
  shape: readonly number[],
  binding: TensorBinding,
): Uint8Array {
  const writer = new BinaryWriter();
  for (const dim of shape) writer.tag(TensorFields.dims, WireType.Varint).int64(dim);
  writer.tag(TensorFields.dataType, WireType.Varint).int32(dataTypeNumber(dtype));
  writer.tag(TensorFields.name, WireType.LengthDelimited).string(name);
  if (binding.kind === "inline") {
    writer.tag(TensorFields.raw, WireType.LengthDelimited).bytes(binding.bytes);
  } else if (binding.kind === "following") {
    writer.tag(TensorFields.raw, WireType.LengthDelimited).uint32(binding.length);
  } else {
    const { location, offset, length, digest, prepacked = [] } = binding;
    const packed = prepacked.map((entry, index) => [`${PREPACKED}${index}`, formatPrepacked(entry)] as const);
    const checksum = digest !== undefined && { [CHECKSUM]: digest };
    for (const [key, value] of [...Object.entries({ location, offset, length, ...checksum }), ...packed]) {
      writer.tag(TensorFields.external, WireType.LengthDelimited).fork();
      writer.tag(EntryFields.key, WireType.LengthDelimited).string(key);
      writer.tag(EntryFields.value, WireType.LengthDelimited).string(String(value)).join();
    }
    writer.tag(TensorFields.location, WireType.Varint).int32(1);
  }
  return writer.finish();
}

/** Encodes a field of a graph: an initializer. */
export function encodeInitializer(tensor: Uint8Array): Uint8Array {
  return new BinaryWriter().tag(GraphFields.initializer, WireType.LengthDelimited).bytes(tensor).finish();
}

/** Encodes a field of a graph: an input. */
export function encodeInput(value: ValueType): Uint8Array {
  return encodeValue(GraphFields.input, value);
}

/** Encodes a field of a graph: an output. Without a dtype, the engine infers its type. */
export function encodeOutput(value: ValueType): Uint8Array {
  return encodeValue(GraphFields.output, value);
}

function encodeValue(field: number, { name, dtype, shape }: ValueType): Uint8Array {
  const writer = new BinaryWriter().tag(field, WireType.LengthDelimited).fork();
  writer.tag(ValueInfoFields.name, WireType.LengthDelimited).string(name);
  if (dtype === undefined) return writer.join().finish();
  writer.tag(ValueInfoFields.type, WireType.LengthDelimited).fork();
  writer.tag(TypeFields.tensor, WireType.LengthDelimited).fork();
  writer.tag(TensorTypeFields.elemType, WireType.Varint).int32(dataTypeNumber(dtype));
  if (shape) {
    writer.tag(TensorTypeFields.shape, WireType.LengthDelimited).fork();
    for (const dim of shape) {
      writer.tag(ShapeFields.dim, WireType.LengthDelimited).fork();
      if (typeof dim === "number") writer.tag(DimFields.value, WireType.Varint).int64(dim);
      else if (dim !== undefined) writer.tag(DimFields.param, WireType.LengthDelimited).string(dim);
      writer.join();
    }
    writer.join();
  }
  return writer.join().join().join().finish();
}

/** Encodes a field of a graph: a node that copies a value to another name. */
export function encodeIdentity(input: string, output: string): Uint8Array {
  return encodeUnary("Identity", input, output);
}

/** Encodes a field of a graph: a node that gives the shape of a value. */
export function encodeShape(input: string, output: string): Uint8Array {
  return encodeUnary("Shape", input, output);
}

function encodeUnary(operator: string, input: string, output: string): Uint8Array {
  const writer = new BinaryWriter().tag(GraphFields.node, WireType.LengthDelimited).fork();
  writer.tag(NodeFields.input, WireType.LengthDelimited).string(input);
  writer.tag(NodeFields.output, WireType.LengthDelimited).string(output);
  return writer.tag(NodeFields.opType, WireType.LengthDelimited).string(operator).join().finish();
}

/** Encodes a field of a model: an operator set import. */
export function encodeOpset(domain: string, version: number): Uint8Array {
  const writer = new BinaryWriter().tag(ModelFields.opsetImport, WireType.LengthDelimited).fork();
  writer.tag(OpsetFields.domain, WireType.LengthDelimited).string(domain);
  return writer.tag(OpsetFields.version, WireType.Varint).int64(version).join().finish();
}

/** Encodes a field of a model: its IR version. */
export function encodeIrVersion(version: number): Uint8Array {
  return new BinaryWriter().tag(ModelFields.irVersion, WireType.Varint).int64(version).finish();
}
