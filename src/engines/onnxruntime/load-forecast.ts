import type { OnnxModel } from "../../formats/onnx/graph.ts";
import type { BoundTensors } from "../../formats/onnx/thin.ts";
import { whyNotWeightless } from "../../formats/onnx/weightless.ts";
import type { Artifact } from "./artifact.ts";
import { isWorthAFile } from "./packings.ts";
import { needsPrepacking, packedWeights, packingNodes } from "./prepacking.ts";

/** What the engine does with the weights of a program where it is loaded as tare chooses. */
export interface Outlook {
  /** The operator that makes it prepack; `undefined` where it gains nothing. */
  readonly prepacking: string | undefined;
  /** Names of the weights that it keeps a packed copy of for each session. */
  readonly copied: ReadonlySet<string>;
  /** Names of the weights that have one packed copy for all sessions and processes. */
  readonly packed: ReadonlySet<string>;
  /** Names of the weights that it does not map: it has what is derived from them. Known once it was compiled. */
  readonly derived: ReadonlySet<string>;
  /** Why the program cannot be compiled without its weights; `undefined` where it can. */
  readonly whole: string | undefined;
}

/** Tells what a compilation showed: fusion makes operators that the program does not name. */
export function outlookOfCompiled(artifact: Artifact): Outlook {
  const { prepacking, whole, packings } = artifact;
  const names = new Map(artifact.weights.map(({ input, name }) => [input, name]));
  const nameOf = (input: string): string => names.get(input) ?? "";
  const derived = new Set(artifact.derived?.dropped.map(nameOf));
  const inside = new Set(packings.flatMap(({ operands }) => operands.map(([, input]) => nameOf(input))));
  return {
    prepacking,
    whole,
    ...(prepacking === undefined
      ? NOTHING
      : {
          copied: new Set(artifact.packed.filter((name) => !inside.has(name))),
          packed: new Set(packings.map(({ input }) => nameOf(input))),
        }),
    derived,
  };
}

/** Tells what can be expected of a program that was not compiled yet. */
export function outlookOfProgram(graph: OnnxModel, bound: BoundTensors): Outlook {
  const prepacking = needsPrepacking(graph);
  const whole = whyNotWeightless(graph, bound);
  if (prepacking === undefined) return { prepacking, whole, ...NOTHING };
  const weights = new Map(bound.weights.map((tensor) => [tensor.local, tensor]));
  const packed = new Set<string>();
  const inside = new Set<string>();
  for (const [value, nodes] of whole === undefined ? packingNodes(graph) : []) {
    const weight = weights.get(value);
    if (!weight || weight.dtype === "string" || !isWorthAFile({ ...weight, dtype: weight.dtype })) continue;
    packed.add(weight.name);
    for (const input of nodes.flatMap((node) => node.inputs)) inside.add(weights.get(input)?.name ?? "");
  }
  return {
    prepacking,
    whole,
    copied: new Set(packedWeights(graph, bound).filter((name) => !inside.has(name))),
    packed,
    derived: NOTHING.derived,
  };
}

const NOTHING = { copied: new Set<string>(), packed: new Set<string>(), derived: new Set<string>() };
