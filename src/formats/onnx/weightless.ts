import { concatBytes, type Edit, encodeVarint, splice } from "../../encodings/protobuf/splice.ts";
import { SparseBytes } from "../../encodings/protobuf/sparse-bytes.ts";
import type { DType } from "../../tensor/dtype.ts";
import {
  encodeIdentity,
  encodeInitializer,
  encodeInput,
  encodeIrVersion,
  encodeOpset,
  encodeTensor,
  type TensorBinding,
} from "./encode.ts";
import type { OnnxGraph, OnnxModel } from "./graph.ts";
import { parseOnnx } from "./parse.ts";
import { type BindTensor, type BoundTensors, boundTensors, rebind } from "./thin.ts";

/** A program whose weights are graph inputs, for compilers. */
export interface Weightless {
  readonly bytes: Uint8Array;
  /** Graph input → weight. */
  readonly inputs: ReadonlyMap<string, string>;
}

/** First IR version where initializers need not be graph inputs. */
export const FREE_INITIALIZERS = 4;

/**
 * The reason why a model's weights cannot all become graph inputs; `undefined` if they can. Functions and sparse
 * tensors cannot refer to inputs, and engines fuse dequantized 4-bit weights with a MatMul only if they are constant.
 */
export function whyNotWeightless(
  model: OnnxModel,
  bound: BoundTensors = boundTensors(model),
): string | undefined {
  for (const weight of bound.weights) {
    if (weight.role === "sparse") return `weight "${weight.name}" is sparse`;
    if (!weight.graph) return `weight "${weight.name}" belongs to a function or to training`;
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
 * Removes the weights of a program: each becomes a graph input, so that no compiler can depend on its values. Constants
 * stay.
 * @param bind gives the bytes of constants in other files (inline)
 */
export function writeWeightless(
  view: SparseBytes,
  model: OnnxModel,
  bind: BindTensor,
  bound: BoundTensors = boundTensors(model),
): Weightless {
  const { weights, constants } = bound;
  const main = model.graph;
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
    // If the name has other uses, the weight gets another name as an input, and is renamed here.
    const identity = direct ? new Uint8Array(0) : encodeIdentity(name, local);
    if (weight.role === "constant")
      edits.push({ frame: graph.frame, start: field.start, end: field.end, bytes: identity });
    else {
      edits.push({ frame: graph.frame, start: field.start, end: field.end, bytes: new Uint8Array(0) });
      if (!direct)
        edits.push({ frame: graph.frame, start: graph.frame.start, end: graph.frame.start, bytes: identity });
    }
    // Before IR 4 an initializer is also an input of its graph.
    const input = graph.inputs.find((each) => each.name === local)?.field;
    if (input && direct && graph === main) continue;
    if (input)
      edits.push({ frame: graph.frame, start: input.start, end: input.end, bytes: new Uint8Array(0) });
    edits.push({
      frame: main.frame,
      start: main.frame.end,
      end: main.frame.end,
      bytes: encodeInput({ name, dtype, shape }),
    });
  }
  return { bytes: splice(view, edits), inputs };
}

/** A compiled program, cut at the place where weights are bound, so that binding is a concatenation. */
export interface CompiledTemplate {
  /** Bytes before the length prefix of the main graph. */
  readonly before: Uint8Array;
  /** The main graph, without the weight inputs. */
  readonly graph: Uint8Array;
  /** Bytes after the main graph. */
  readonly after: Uint8Array;
}

/**
 * Removes the weight inputs from a compiled weightless program.
 * @param bytes the compiler's output for {@link Weightless.bytes}
 */
export function cutTemplate(bytes: Uint8Array, inputs: ReadonlySet<string>): CompiledTemplate {
  const view = new SparseBytes("compiled program", bytes);
  const model = parseOnnx(view);
  const { frame } = model.graph;
  const edits: Edit[] = model.graph.inputs
    .filter((input) => inputs.has(input.name))
    .map(({ field }) => ({ frame, start: field.start, end: field.end, bytes: new Uint8Array(0) }));
  const cut = splice(view, [...edits, ...headerEdits(model)]);
  const { prefix, start, end } = parseOnnx(new SparseBytes("compiled program", cut)).graph.frame;
  return { before: cut.subarray(0, prefix), graph: cut.subarray(start, end), after: cut.subarray(end) };
}

/** Binds a template to weights. @returns the model that an engine loads */
export function bindTemplate(
  template: CompiledTemplate,
  weights: readonly {
    readonly input: string;
    readonly dtype: DType;
    readonly shape: readonly number[];
    /** `undefined` keeps it an input. */
    readonly binding: TensorBinding | undefined;
  }[],
): Uint8Array {
  const initializers = weights.map(({ input: name, dtype, shape, binding }) =>
    binding
      ? encodeInitializer(encodeTensor(name, dtype, shape, binding))
      : encodeInput({ name, dtype, shape }),
  );
  const { before, graph, after } = template;
  const length = initializers.reduce((sum, each) => sum + each.byteLength, graph.byteLength);
  return concatBytes([before, encodeVarint(length), graph, ...initializers, after]);
}

/** Fused nodes need domains that the program did not import, and initializers need a newer IR than old files have. */
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

/** Counts the graphs that define a name. An initializer that is also a graph input counts once. */
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
