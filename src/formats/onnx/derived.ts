import type { Edit } from "../../encodings/protobuf/splice.ts";
import { splice } from "../../encodings/protobuf/splice.ts";
import type { SparseBytes } from "../../encodings/protobuf/sparse-bytes.ts";
import type { OnnxModel, OnnxNode } from "./graph.ts";

/** Operators that depend on their tensor inputs only. Others stay in the program. */
const PURE: Readonly<Record<string, readonly string[]>> = {
  "": [
    "Abs Add Cast Ceil Clip Concat Div Einsum Exp Expand Flatten Floor Gather Gemm Identity Log",
    "MatMul Max Min Mul Neg Pad Pow Reciprocal ReduceL1 ReduceL2 ReduceMax ReduceMean ReduceMin",
    "ReduceSum ReduceSumSquare Reshape Sigmoid Slice Split Sqrt Squeeze Sub Sum Tanh Tile Transpose",
    "Unsqueeze Where",
  ].flatMap((line) => line.split(" ")),
  "com.microsoft": ["FusedGemm", "FusedMatMul"],
};
/** Operators that only change the shape: an engine runs them without a copy. */
const VIEWS: readonly string[] = ["Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze"];

/** A value of the main graph that depends on weights and constants only. */
export interface WeightOnlyValue {
  readonly name: string;
  /** The nodes that make it, each after those that it reads: the same order wherever they are. */
  readonly nodes: readonly OnnxNode[];
  /** Weights that it depends on, in the order in which the nodes read them. */
  readonly operands: readonly string[];
}

/** Values that replace nodes, and the parts of a program that they make superfluous. */
export interface DerivedPlan {
  readonly values: readonly WeightOnlyValue[];
  readonly nodes: ReadonlySet<OnnxNode>;
  /** Weights that only those nodes read. */
  readonly weights: readonly string[];
}

/**
 * Finds the values that depend on weights and constants only, by the structure of the graph.
 * @param weights inputs of the main graph that are weights
 */
export function weightOnlyValues(model: OnnxModel, weights: ReadonlySet<string>): Map<string, OnnxNode> {
  const main = model.graph;
  const known = new Set(
    model.tensors
      .filter(({ role, graph }) => role === "initializer" && graph === main)
      .map((each) => each.local),
  );
  const made = new Map<string, OnnxNode>();
  for (const node of main.nodes) {
    const pure = PURE[node.domain]?.includes(node.opType);
    const inputs = node.inputs.filter((name) => name !== "");
    if (!pure || !inputs.every((name) => weights.has(name) || known.has(name) || made.has(name))) continue;
    // The engine's optimizer folds values of constants alone.
    if (!inputs.some((name) => weights.has(name) || made.has(name))) continue;
    for (const name of node.outputs) if (name !== "") made.set(name, node);
  }
  return made;
}

/**
 * Plans the values to derive once, instead of at each call: the last ones that are worth it.
 * @param made the result of {@link weightOnlyValues}
 */
export function planDerived(
  model: OnnxModel,
  weights: ReadonlySet<string>,
  made: ReadonlyMap<string, OnnxNode>,
  isWorthIt: (value: WeightOnlyValue) => boolean,
): DerivedPlan {
  const values = new Map<string, WeightOnlyValue>();
  const outputs = new Set(model.graph.outputs.map((output) => output.name));
  const seen = new Set<string>();
  const needed = new Set<OnnxNode>();
  const open = readsOf(model, new Set(made.values()));
  for (let name = open.pop(); name !== undefined; name = open.pop()) {
    if (seen.has(name)) continue;
    seen.add(name);
    const node = made.get(name);
    if (!node) continue;
    const value = valueOf(name, weights, made);
    // A node with several outputs makes all of them, or is removed.
    const alone = node.outputs.filter((each) => each !== "").length === 1 && !outputs.has(name);
    if (alone && value.nodes.some(({ opType }) => !VIEWS.includes(opType)) && isWorthIt(value)) {
      values.set(name, value);
    } else {
      needed.add(node);
      open.push(...node.inputs);
    }
  }
  const gone = [...values.values()];
  return {
    // In the order of the graph, so that the plan is deterministic.
    values: [...made.keys()].flatMap((name) => values.get(name) ?? []),
    nodes: new Set(gone.flatMap((value) => value.nodes).filter((node) => !needed.has(node))),
    weights: [...new Set(gone.flatMap((value) => value.operands))].filter((name) => !seen.has(name)),
  };
}

/** Removes the planned nodes. A binding then supplies their values, like weights. */
export function withoutDerived(view: SparseBytes, model: OnnxModel, plan: DerivedPlan): Uint8Array {
  const { frame, values } = model.graph;
  const gone = new Set([...plan.nodes].flatMap((node) => node.outputs));
  const fields = [
    ...[...plan.nodes].map((node) => node.field),
    ...values.filter((value) => gone.has(value.name)).map((value) => value.field),
  ];
  return splice(
    view,
    fields.map(({ start, end }): Edit => ({ frame, start, end, bytes: new Uint8Array(0) })),
  );
}

/** All values that the rest of a program reads: in other nodes, in bodies, and as outputs. */
function readsOf(model: OnnxModel, apart: ReadonlySet<OnnxNode>): string[] {
  return model.graphs.flatMap((graph) => [
    ...graph.nodes.filter((node) => !apart.has(node)).flatMap((node) => node.inputs),
    ...graph.outputs.map((output) => output.name),
  ]);
}

/** Walks back from the value, depth first, inputs in order. */
function valueOf(
  name: string,
  weights: ReadonlySet<string>,
  made: ReadonlyMap<string, OnnxNode>,
): WeightOnlyValue {
  const nodes = new Set<OnnxNode>();
  const operands = new Set<string>();
  const entered = new Set<OnnxNode>();
  const open: { readonly value: string; readonly leave: boolean }[] = [{ value: name, leave: false }];
  for (let next = open.pop(); next; next = open.pop()) {
    const node = made.get(next.value);
    if (!node) {
      if (weights.has(next.value)) operands.add(next.value);
    } else if (next.leave) nodes.add(node);
    else if (!entered.has(node)) {
      entered.add(node);
      open.push({ value: next.value, leave: true });
      for (const value of node.inputs.toReversed()) open.push({ value, leave: false });
    }
  }
  return { name, nodes: [...nodes], operands: [...operands] };
}
