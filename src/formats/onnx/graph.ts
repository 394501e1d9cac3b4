import type { Field, Frame } from "../../encodings/protobuf/fields.ts";
import type { Digest } from "../../tensor/digest.ts";
import type { DType } from "../../tensor/dtype.ts";

/** The storage of a tensor's elements. */
export type TensorData =
  /** Little-endian elements in the file itself: `raw_data`, or a packed typed field of fixed width. */
  | { readonly kind: "plain"; readonly offset: number; readonly length: number }
  /** Varints in the file itself: `int32_data`, `int64_data`, `uint64_data`. */
  | { readonly kind: "varint"; readonly offset: number; readonly length: number }
  /** In another file. */
  | {
      readonly kind: "external";
      readonly location: string;
      readonly offset: number;
      readonly length: number;
      /** Digest of the tensor's bytes, if tare wrote it. */
      readonly digest?: Digest;
    }
  /** Strings, unpacked fields, or nothing: never a weight. */
  | { readonly kind: "other" };

/** A `TensorProto` anywhere in the model. */
export interface OnnxTensor {
  /** Unique in the model: the tensor's own name in the main graph, with a path before it elsewhere. */
  readonly name: string;
  /** The name that nodes use: an initializer's name, or a `Constant`'s output. */
  readonly local: string;
  readonly role: "initializer" | "constant" | "attribute" | "sparse";
  readonly dtype: DType | "string";
  readonly shape: readonly number[];
  readonly data: TensorData;
  /** Its message. */
  readonly frame: Frame;
  /** The field to remove with the tensor: the initializer, or the `Constant` node. */
  readonly field: Field | undefined;
  /** The graph it belongs to; `undefined` in a function or in training information. */
  readonly graph: OnnxGraph | undefined;
}

/** A `NodeProto`. */
export interface OnnxNode {
  /** Its message. */
  readonly frame: Frame;
  /** Often a path of modules; empty if missing. */
  readonly name: string;
  readonly opType: string;
  /** Empty for ONNX's own operators. */
  readonly domain: string;
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  /** Its field in the graph. */
  readonly field: Field;
  /** Attribute of `Gemm`: whether its second input is [out, in]. */
  readonly transB: boolean;
}

/** A graph's input or output. A dimension is a number, a name, or `undefined` if unknown. */
export interface OnnxValue {
  readonly name: string;
  /** `undefined` for sequences, maps and optionals. */
  readonly dtype: DType | "string" | undefined;
  /** `undefined` if the rank is unknown. */
  readonly shape: readonly (number | string | undefined)[] | undefined;
  readonly field: Field;
}

/** A `GraphProto`: the model's own, or the body of an `If`, `Loop` or `Scan`. */
export interface OnnxGraph {
  readonly frame: Frame;
  readonly inputs: readonly OnnxValue[];
  readonly outputs: readonly OnnxValue[];
  readonly nodes: readonly OnnxNode[];
  /** Types of values between the nodes of the main graph; empty for other graphs. */
  readonly values: readonly OnnxValue[];
  readonly parent: OnnxGraph | undefined;
}

/** The parts of a `ModelProto` that tare needs. */
export interface OnnxModel {
  readonly irVersion: number;
  readonly opsets: ReadonlyMap<string, number>;
  /** Field that holds the IR version. */
  readonly irField: Field | undefined;
  readonly frame: Frame;
  readonly graph: OnnxGraph;
  /** Every graph, the main one first. */
  readonly graphs: readonly OnnxGraph[];
  /** Nodes in the bodies of functions, whose names are separate from those of graphs. */
  readonly functionNodes: readonly OnnxNode[];
  /** Whether it has training information. */
  readonly trains: boolean;
  /** Every dense tensor, and both of every sparse tensor, in the order of the file. */
  readonly tensors: readonly OnnxTensor[];
}
