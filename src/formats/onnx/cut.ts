import type { Field } from "../../encodings/protobuf/fields.ts";
import { concatBytes, type Edit, splice } from "../../encodings/protobuf/splice.ts";
import type { SparseBytes } from "../../encodings/protobuf/sparse-bytes.ts";
import { encodeInput, encodeOutput, encodeShape, type ValueType } from "./encode.ts";
import type { OnnxGraph, OnnxModel, OnnxNode } from "./graph.ts";

/** A run of the main graph's nodes, with everything that makes it a program. */
export interface SegmentPlan {
  /** Index of the requested run. */
  readonly run: number;
  /** Indices of its nodes in the main graph, in order, including the `Constant`s that it uses. */
  readonly nodes: readonly number[];
  /** Names of the initializers that it uses, also in bodies of its nodes. */
  readonly initializers: readonly string[];
  /** Inputs of the graph, in its order, then values of earlier segments, in the order of their nodes. */
  readonly inputs: readonly string[];
  /** Values that later segments or the graph's caller read. */
  readonly outputs: readonly string[];
}

/**
 * Whether a node costs nothing: each segment copies the `Constant`s that it uses, so that no weight travels between
 * sessions.
 */
export function isFree({ opType, domain }: OnnxNode): boolean {
  return opType === "Constant" && domain === "";
}

/** The reason why a model cannot be cut; `undefined` if it can. */
export function whyNotCut(model: OnnxModel): string | undefined {
  if (model.trains) return "it has information on how its whole graph is trained";
  for (const { name, role, graph, data } of model.tensors) {
    if (role === "sparse") return `tensor "${name}" is sparse`;
    if (!graph && data.kind === "external") return `weight "${name}" belongs to a function`;
  }
  const { inputs, nodes } = model.graph;
  const made = new Set<string>([...initializersOf(model), ...inputs.map((input) => input.name)]);
  const bodies = model.graphs.filter((graph) => graph !== model.graph);
  // Names that a body defines are unknown to the nodes around it.
  const own = new Set(
    bodies.flatMap((graph) => [...graph.inputs.map((each) => each.name), ...outputsOf(graph)]),
  );
  const later = new Set(outputsOf(model.graph));
  const reads = readsOf(model);
  for (const [index, node] of nodes.entries()) {
    const early = [...(reads[index] ?? [])].find(
      (name) => later.has(name) && !made.has(name) && (node.inputs.includes(name) || !own.has(name)),
    );
    if (early !== undefined) return `a ${node.opType} reads "${early}" before it is made`;
    for (const name of node.outputs) {
      if (name !== "" && made.has(name)) return `"${name}" is made twice`;
      made.add(name);
    }
  }
  return undefined;
}

/**
 * Plans a cut of the main graph into runs of consecutive nodes. Nodes come after those they depend on, so such runs can
 * be executed one after the other. Nodes without a use are left out.
 * @param ends index of the node after each run, ascending; the last is the number of nodes
 */
export function planCut(model: OnnxModel, ends: readonly number[]): SegmentPlan[] {
  const main = model.graph;
  const reads = readsOf(model);
  const makers = new Map(main.nodes.flatMap((node, index) => node.outputs.map((name) => [name, index])));
  const initializers = initializersOf(model);
  const order = new Map(
    [...main.inputs.map((input) => input.name), ...makers.keys()].map((name, at) => [name, at]),
  );
  const needed = new Set(main.outputs.map((output) => output.name));
  // The last segment outputs values that the graph passes on unchanged.
  const passed = [...needed].filter((name) => !makers.has(name));

  const plans: SegmentPlan[] = [];
  for (let segment = ends.length - 1; segment >= 0; segment--) {
    const start = ends[segment - 1] ?? 0;
    const end = ends[segment] as number;
    const inside = (name: string): boolean => {
      const at = makers.get(name);
      return at !== undefined && at >= start && at < end;
    };
    const given = plans.length === 0 ? passed : [];
    const outputs = [...needed].filter(inside).concat(given);
    if (outputs.length === 0) continue;
    const nodes = new Set<number>();
    const used = new Set(given);
    for (let index = start; index < end; index++) {
      const node = main.nodes[index] as OnnxNode;
      if (isFree(node) && !outputs.includes(node.outputs[0] ?? "")) continue;
      nodes.add(index);
      for (const name of reads[index] ?? []) used.add(name);
    }
    const inputs: string[] = [];
    for (const name of used) {
      const maker = makers.get(name);
      if (maker === undefined) {
        if (order.has(name) && !initializers.has(name)) inputs.push(name);
      } else if (isFree(main.nodes[maker] as OnnxNode)) nodes.add(maker);
      else if (maker < start) inputs.push(name);
    }
    for (const name of outputs) needed.delete(name);
    for (const name of inputs) if (makers.has(name)) needed.add(name);
    const place = (name: string): number => order.get(name) ?? -1;
    plans.unshift({
      run: segment,
      nodes: [...nodes].sort((a, b) => a - b),
      initializers: [...used].filter((name) => initializers.has(name)),
      inputs: inputs.sort((a, b) => place(a) - place(b)),
      outputs: outputs.sort((a, b) => place(a) - place(b)),
    });
  }
  return plans;
}

/** Values that pass between the segments of a cut. */
export function crossingValues(model: OnnxModel, plans: readonly SegmentPlan[]): string[] {
  const given = new Set(model.graph.inputs.map((input) => input.name));
  return [...new Set(plans.flatMap((plan) => plan.inputs))].filter((name) => !given.has(name));
}

/** Types that the model declares, by the names of its values. */
export function declaredTypes(model: OnnxModel): Map<string, ValueType> {
  const { inputs, outputs, values } = model.graph;
  return new Map([...values, ...outputs, ...inputs].map((value) => [value.name, value]));
}

/**
 * Encodes a segment as a model, with its nodes byte for byte.
 * @param types types of the values that pass between segments
 */
export function writeSegment(
  view: SparseBytes,
  model: OnnxModel,
  plan: SegmentPlan,
  types: (name: string) => ValueType,
): Uint8Array {
  const main = model.graph;
  const { frame } = main;
  const edits: Edit[] = [];
  const drop = ({ start, end }: Field): void =>
    void edits.push({ frame, start, end, bytes: new Uint8Array(0) });
  const add = (bytes: Uint8Array): void =>
    void edits.push({ frame, start: frame.end, end: frame.end, bytes });

  const nodes = new Set(plan.nodes);
  const initializers = new Set(plan.initializers);
  const inputs = new Set(plan.inputs);
  const outputs = new Set(plan.outputs);
  main.nodes.forEach((node, index) => {
    if (!nodes.has(index)) drop(node.field);
  });
  for (const { role, graph, local, field } of model.tensors) {
    if (role === "initializer" && graph === main && field && !initializers.has(local)) drop(field);
  }
  // An initializer that is also an input stays both.
  for (const { name, field } of main.inputs) if (!inputs.delete(name) && !initializers.has(name)) drop(field);
  for (const { name, field } of main.outputs) if (!outputs.delete(name)) drop(field);
  const inner = new Set(plan.nodes.flatMap((index) => main.nodes[index]?.outputs ?? []));
  for (const { name, field } of main.values) if (!inner.has(name) || outputs.has(name)) drop(field);
  for (const name of inputs) add(encodeInput({ ...types(name), name }));
  for (const name of outputs) add(encodeOutput({ ...types(name), name }));
  return splice(view, edits);
}

/** Encodes the model with further outputs, whose types an engine infers. */
export function writeProbe(view: SparseBytes, model: OnnxModel, names: readonly string[]): Uint8Array {
  const { frame } = model.graph;
  return splice(
    view,
    names.map((name) => ({ frame, start: frame.end, end: frame.end, bytes: encodeOpenOutput(name) })),
  );
}

/**
 * Encodes the model with a further output for each given value, whose only dimension is the value's rank: engines may
 * not otherwise tell a scalar from a tensor of unknown rank.
 */
export function writeRankProbe(view: SparseBytes, model: OnnxModel, names: readonly string[]): Uint8Array {
  const { frame } = model.graph;
  const edits = names.map((name, index) => {
    const rank = `tare.rank.${index}`;
    const bytes = concatBytes([encodeShape(name, rank), encodeOpenOutput(rank)]);
    return { frame, start: frame.end, end: frame.end, bytes };
  });
  return splice(view, edits);
}

function encodeOpenOutput(name: string): Uint8Array {
  return encodeOutput({ name, dtype: undefined, shape: undefined });
}

function outputsOf(graph: OnnxGraph): string[] {
  return graph.nodes.flatMap((node) => node.outputs);
}

function initializersOf(model: OnnxModel): Set<string> {
  const initializers = model.tensors.filter(
    ({ role, graph }) => role === "initializer" && graph === model.graph,
  );
  return new Set(initializers.map((tensor) => tensor.local));
}

/** The values that each node of the main graph reads: its inputs, and outer values in its bodies. */
function readsOf(model: OnnxModel): Set<string>[] {
  const main = model.graph;
  const reads = main.nodes.map((node) => new Set(node.inputs.filter((name) => name !== "")));
  for (const graph of model.graphs) {
    const index = graph === main ? -1 : holderOf(main, graph);
    if (index < 0) continue;
    // This includes names that the body defines, which no node outside has.
    for (const node of graph.nodes) for (const name of node.inputs) reads[index]?.add(name);
    for (const output of graph.outputs) reads[index]?.add(output.name);
  }
  return reads;
}

/** Index of the node whose attribute contains a graph, at any depth; -1 for none. */
function holderOf(main: OnnxGraph, { frame }: OnnxGraph): number {
  let low = 0;
  let high = main.nodes.length - 1;
  while (low <= high) {
    const middle = (low + high) >> 1;
    const { start, end } = (main.nodes[middle] as OnnxNode).field;
    if (frame.start < start) high = middle - 1;
    else if (frame.start >= end) low = middle + 1;
    else return middle;
  }
  return -1;
}
