import type { Edit } from "../../encodings/protobuf/splice.ts";
import { splice } from "../../encodings/protobuf/splice.ts";
import { SparseBytes } from "../../encodings/protobuf/sparse-bytes.ts";
import {
  encodeIdentity,
  encodeInitializer,
  encodeInput,
  encodeIrVersion,
  encodeOpset,
  encodeTensor,
} from "./encode.ts";
import type { OnnxGraph, OnnxModel, OnnxTensor } from "./graph.ts";
import { parseOnnx } from "./parse.ts";
import { type BindTensor, boundTensors, rebind } from "./thin.ts";

/** A program whose weights are graph inputs: what a compiler may see. */
export interface Weightless {
  readonly bytes: Uint8Array;
  /** Graph input → weight. */
  readonly inputs: ReadonlyMap<string, string>;
}

/** Initializers need not be graph inputs from this IR version on. */
const FREE_INITIALIZERS = 4;

/**
 * Why a model's weights cannot all become graph inputs, if that is so: a function's body and sparse tensors
 * cannot refer to them, and 4-bit weights that are dequantized before a MatMul are fused only where constant.
 */
export function whyNotWeightless(model: OnnxModel): string | undefined {
  for (const weight of boundTensors(model).weights) {
    if (weight.role === "sparse") return `weight "${weight.name}" is sparse`;
    if (!weight.graph) return `weight "${weight.name}" belongs to a function`;
  }
  const dtypes = new Map(model.tensors.map((tensor) => [tensor.local, tensor.dtype]));
  for (const { opType, inputs } of model.graphs.flatMap((graph) => graph.nodes)) {
    const dtype = opType === "DequantizeLinear" ? dtypes.get(inputs[0] ?? "") : undefined;
    if (dtype && /int[24]$/.test(dtype)) {
      return `the engine unpacks ${dtype} weight "${inputs[0]}" at every run unless it is a constant`;
    }
  }
  return undefined;
}

/**
 * Takes the weights out of a program for good: each becomes a graph input, so that nothing a compiler does can
 * depend on its values. Constants stay.
 * @param bind where constants in other files are (inline)
 */
export function writeWeightless(view: SparseBytes, model: OnnxModel, bind: BindTensor): Weightless {
  const { weights, constants } = boundTensors(model);
  const main = model.graph;
  const mainInputs = new Set(main.inputs.map((input) => input.name));
  const definitions = countDefinitions(model);
  const outputs = new Set(model.graphs.flatMap((graph) => graph.outputs.map((output) => output.name)));
  const inputs = new Map<string, string>();
  const edits: Edit[] = constants.map((tensor) => rebind(tensor, bind(tensor.name)));

  for (const weight of weights) {
    const { graph, field, local, dtype, shape } = weight;
    if (!graph || !field || dtype === "string")
      throw new TypeError(`weight "${weight.name}" cannot be lifted`);
    const direct = definitions.get(local) === 1 && !outputs.has(local);
    const name = direct ? local : freshName(definitions, inputs.size);
    inputs.set(name, weight.name);
    // Where the name is taken elsewhere, or is an output, the weight comes in under another and is renamed here.
    const identity = direct ? new Uint8Array(0) : encodeIdentity(name, local);
    if (weight.role === "constant")
      edits.push({ frame: graph.frame, start: field.start, end: field.end, bytes: identity });
    else {
      edits.push({ frame: graph.frame, start: field.start, end: field.end, bytes: new Uint8Array(0) });
      if (!direct)
        edits.push({ frame: graph.frame, start: graph.frame.start, end: graph.frame.start, bytes: identity });
    }
    if (direct && graph === main && mainInputs.has(local)) continue;
    edits.push({
      frame: main.frame,
      start: main.frame.end,
      end: main.frame.end,
      bytes: encodeInput(name, dtype, shape),
    });
  }
  return { bytes: splice(view, edits), inputs };
}

/**
 * Binds the inputs of a compiled weightless program to weights again: what an engine loads.
 * @param bytes what the compiler made of {@link Weightless.bytes}
 * @param dtypes dtype and shape of each weight, by its name in `inputs`
 */
export function bindWeightless(
  bytes: Uint8Array,
  inputs: ReadonlyMap<string, string>,
  bind: BindTensor,
  weights: ReadonlyMap<string, Pick<OnnxTensor, "dtype" | "shape">>,
): Uint8Array {
  const view = new SparseBytes("compiled program", bytes);
  const model = parseOnnx(view);
  const { frame } = model.graph;
  const edits: Edit[] = [];
  for (const input of model.graph.inputs) {
    const name = inputs.get(input.name);
    if (name === undefined) continue;
    const weight = weights.get(name);
    if (!weight || weight.dtype === "string") throw new TypeError(`weight "${name}" is not in the table`);
    edits.push({ frame, start: input.field.start, end: input.field.end, bytes: new Uint8Array(0) });
    const tensor = encodeTensor(input.name, weight.dtype, weight.shape, bind(name));
    edits.push({ frame, start: frame.end, end: frame.end, bytes: encodeInitializer(tensor) });
  }
  return splice(view, [...edits, ...headerEdits(model)]);
}

/** Fused nodes come from domains that the program did not import; initializers want a newer IR than old files have. */
function headerEdits(model: OnnxModel): Edit[] {
  const end = { frame: model.frame, start: model.frame.end, end: model.frame.end };
  const domains = new Set(model.graphs.flatMap((graph) => graph.nodes.map((node) => node.domain)));
  const edits: Edit[] = [];
  for (const domain of domains)
    if (!model.opsets.has(domain)) edits.push({ ...end, bytes: encodeOpset(domain, 1) });
  if (model.irVersion < FREE_INITIALIZERS) {
    const { irField } = model;
    const at = irField ? { frame: model.frame, start: irField.start, end: irField.end } : end;
    edits.push({ ...at, bytes: encodeIrVersion(FREE_INITIALIZERS) });
  }
  return edits;
}

/** How many graphs define a name; an initializer that is a graph input as well is one definition. */
function countDefinitions(model: OnnxModel): Map<string, number> {
  const counts = new Map<string, number>();
  const initializers = new Map<OnnxGraph, Set<string>>();
  for (const { role, graph, local } of model.tensors) {
    if (role === "initializer" && graph)
      initializers.set(graph, (initializers.get(graph) ?? new Set()).add(local));
  }
  for (const graph of model.graphs) {
    const names = new Set(initializers.get(graph));
    for (const input of graph.inputs) names.add(input.name);
    for (const node of graph.nodes) for (const output of node.outputs) names.add(output);
    for (const name of names) counts.set(name, (counts.get(name) ?? 0) + 1);
  }
  return counts;
}

function freshName(taken: ReadonlyMap<string, number>, index: number): string {
  let name = `tare.weight.${index}`;
  while (taken.has(name)) name += "_";
  return name;
}
