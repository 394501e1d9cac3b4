import { BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import { eachField, type Frame } from "../../encodings/protobuf/fields.ts";
import { concatBytes } from "../../encodings/protobuf/splice.ts";
import type { SparseBytes } from "../../encodings/protobuf/sparse-bytes.ts";
import type { DType } from "../../tensor/dtype.ts";
import { encodeInitializer, encodeInput, encodeIrVersion, encodeOpset, encodeOutput } from "./encode.ts";
import type { OnnxModel, OnnxNode } from "./graph.ts";
import { GraphFields, ModelFields, NodeFields, TensorFields } from "./schema.ts";
import { type CompiledTemplate, FREE_INITIALIZERS } from "./weightless.ts";

/** Nodes of a program as a separate program, independent of their place. */
export interface LoneNodes {
  /** The template to bind to the operands. */
  readonly template: CompiledTemplate;
  /** Weights in order: name here, and name in the original program. */
  readonly operands: readonly (readonly [name: string, from: string])[];
  /** Outputs in order, named likewise. */
  readonly results: readonly (readonly [name: string, from: string])[];
}

/**
 * Cuts nodes out of a program. Values are named by order, so that the same nodes give the same bytes wherever they are.
 * Attributes and constants are copied unchanged.
 * @param weights values that are bound to weights; the used ones become operands, `first` before all
 * @param fed gives the dtype of a computed input; `undefined` if unknown
 * @param wanted which outputs of the nodes the program outputs; all by default
 * @returns `undefined` if the dtype of an input is unknown
 */
export function writeLoneNodes(
  view: SparseBytes,
  model: OnnxModel,
  nodes: readonly OnnxNode[],
  first: string,
  weights: ReadonlySet<string>,
  fed: (node: OnnxNode, index: number) => DType | undefined,
  wanted: (value: string) => boolean = () => true,
): LoneNodes | undefined {
  const constants = new Map(
    model.tensors.filter((tensor) => tensor.role === "initializer").map((tensor) => [tensor.local, tensor]),
  );
  const names = new Map([[first, "v0"]]);
  const operands: [string, string][] = [["v0", first]];
  const results: [string, string][] = [];
  const parts: Uint8Array[] = [];
  for (const node of nodes) {
    for (const [index, value] of node.inputs.entries()) {
      if (value === "" || names.has(value)) continue;
      const name = `v${names.size}`;
      names.set(value, name);
      const constant = constants.get(value);
      if (weights.has(value)) operands.push([name, value]);
      else if (constant) parts.push(encodeInitializer(renamed(view, constant.frame, name)));
      else {
        const dtype = fed(node, index);
        if (!dtype) return undefined;
        parts.push(encodeInput({ name, dtype, shape: undefined }));
      }
    }
    for (const value of node.outputs) {
      if (value === "" || names.has(value)) continue;
      const name = `v${names.size}`;
      names.set(value, name);
      if (!wanted(value)) continue;
      results.push([name, value]);
      parts.push(encodeOutput({ name, dtype: undefined, shape: undefined }));
    }
    parts.push(copyNode(view, node, names));
  }
  const graphName = new BinaryWriter()
    .tag(GraphFields.name, WireType.LengthDelimited)
    .string("lone")
    .finish();
  const before = new BinaryWriter().raw(encodeIrVersion(Math.max(model.irVersion, FREE_INITIALIZERS)));
  const opsets = new Map([...new Set(nodes.map((node) => node.domain))].map((domain) => [domain, 1]));
  for (const [domain, version] of model.opsets) opsets.set(domain, version);
  for (const [domain, version] of opsets) before.raw(encodeOpset(domain, version));
  return {
    template: {
      before: before.tag(ModelFields.graph, WireType.LengthDelimited).finish(),
      graph: concatBytes([...parts, graphName]),
      after: new Uint8Array(0),
    },
    operands,
    results,
  };
}

function copyNode(view: SparseBytes, node: OnnxNode, names: ReadonlyMap<string, string>): Uint8Array {
  const writer = new BinaryWriter().tag(GraphFields.node, WireType.LengthDelimited).fork();
  for (const value of node.inputs)
    writer.tag(NodeFields.input, WireType.LengthDelimited).string(names.get(value) ?? "");
  for (const value of node.outputs)
    writer.tag(NodeFields.output, WireType.LengthDelimited).string(names.get(value) ?? "");
  const keep: readonly number[] = [NodeFields.opType, NodeFields.domain, NodeFields.attribute];
  return writer
    .raw(fieldsOf(view, node.frame, (number) => keep.includes(number)))
    .join()
    .finish();
}

function renamed(view: SparseBytes, frame: Frame, name: string): Uint8Array {
  const rest = fieldsOf(view, frame, (number) => number !== TensorFields.name);
  return new BinaryWriter().raw(rest).tag(TensorFields.name, WireType.LengthDelimited).string(name).finish();
}

/** Copies fields of a message. */
function fieldsOf(view: SparseBytes, frame: Frame, keep: (number: number) => boolean): Uint8Array {
  const parts: Uint8Array[] = [];
  eachField(view, frame.start, frame.end, (field) => {
    if (keep(field.number)) parts.push(view.slice(field.start, field.end - field.start));
  });
  return concatBytes(parts);
}
