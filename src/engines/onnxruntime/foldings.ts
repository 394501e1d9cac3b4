import type { SparseBytes } from "../../encodings/protobuf/sparse-bytes.ts";
import { EngineError } from "../../errors.ts";
import { writeProbe } from "../../formats/onnx/cut.ts";
import {
  planDerived,
  type WeightOnlyValue,
  weightOnlyValues,
  withoutDerived,
} from "../../formats/onnx/derived.ts";
import type { OnnxModel } from "../../formats/onnx/graph.ts";
import { writeLoneNodes } from "../../formats/onnx/lone-nodes.ts";
import { cutTemplate } from "../../formats/onnx/weightless.ts";
import { type DType, tensorBytes } from "../../tensor/dtype.ts";
import type { Port } from "../engine.ts";
import type { Folding, FoldedProgram, WantedWeight } from "./artifact.ts";
import { isWorthAFile } from "./prepackings.ts";
import type { CreateSettings } from "./protocol.ts";
import type { EngineThread } from "./thread.ts";

/** Limit of the growth of a folded constant over its weights: 16-bit weights may be widened to 32 bits. */
const MAX_GROWTH = 2;

/**
 * Finds the values of a compiled program that can be folded from its weights once, instead of at each call. The result
 * depends on the program only.
 * @param unfed inputs that {@link cutTemplate} removes
 */
export async function foldingsOf(
  view: SparseBytes,
  compiled: OnnxModel,
  weights: readonly WantedWeight[],
  unfed: ReadonlySet<string>,
  thread: EngineThread,
): Promise<FoldedProgram | undefined> {
  const wanted = new Map(weights.map((weight) => [weight.input, weight]));
  const inputs = new Set(wanted.keys());
  const made = weightOnlyValues(compiled, inputs);
  if (made.size === 0) return undefined;
  const types = await typesOf(view, compiled, [...made.keys()], thread);
  const plan = planDerived(compiled, inputs, made, (value) => {
    const type = types.get(value.name);
    return type !== undefined && isWorthIt(type, value, wanted);
  });
  const foldings = plan.values.flatMap(({ name, nodes, operands: [first = ""] }): Folding[] => {
    const lone = writeLoneNodes(
      view,
      compiled,
      nodes,
      first,
      inputs,
      () => undefined,
      (value) => value === name,
    );
    const type = types.get(name);
    const [[result] = []] = lone?.results ?? [];
    if (!lone || !type || result === undefined) return [];
    const { operands, template } = lone;
    const [before, graph] = [template.before, template.graph].map((part) =>
      Buffer.from(part).toString("base64"),
    );
    return [{ input: name, ...type, operands, result, before: before as string, graph: graph as string }];
  });
  if (foldings.length === 0 || foldings.length < plan.values.length) return undefined;
  return {
    foldings,
    dropped: plan.weights,
    template: cutTemplate(withoutDerived(view, compiled, plan), unfed),
  };
}

type ValueType = Pick<WantedWeight, "dtype" | "shape">;

function isWorthIt(
  type: ValueType,
  { operands }: WeightOnlyValue,
  weights: ReadonlyMap<string, WantedWeight>,
): boolean {
  const before = operands.reduce((sum, name) => sum + sizeOf(weights.get(name)), 0);
  return isWorthAFile(type) && sizeOf(type) <= before * MAX_GROWTH;
}

function sizeOf(type: ValueType | undefined): number {
  return type ? (tensorBytes(type.dtype, type.shape) ?? 0) : 0;
}

const SETTINGS: CreateSettings = {
  level: "disabled",
  prepack: false,
  threads: 1,
  spinning: false,
  folder: undefined,
};

/** Infers dtypes and shapes of values in the engine. Leaves out values without a fixed dtype and shape. */
async function typesOf(
  view: SparseBytes,
  compiled: OnnxModel,
  names: readonly string[],
  thread: EngineThread,
): Promise<Map<string, ValueType>> {
  const outputs = new Set(compiled.graph.outputs.map((output) => output.name));
  const model = writeProbe(
    view,
    compiled,
    names.filter((name) => !outputs.has(name)),
  );
  let ports: readonly Port[] = [];
  try {
    ports = await thread.ask({ op: "outputs", model, settings: SETTINGS });
  } catch (error) {
    // JavaScript has no arrays for the dtypes of these weights or values, so they cannot be folded.
    if (!(error instanceof EngineError && error.code === "engine")) throw error;
  }
  return new Map(
    ports.flatMap(({ name, dtype, shape }): [string, ValueType][] => {
      const dims = (shape ?? []).filter((dim) => typeof dim === "number");
      if (dtype === undefined || dtype === "string" || !shape || dims.length < shape.length) return [];
      return [[name, { dtype: dtype satisfies DType, shape: dims }]];
    }),
  );
}
