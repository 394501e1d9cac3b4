import type { OnnxModel } from "../../formats/onnx/graph.ts";
import type { BoundTensors } from "../../formats/onnx/thin.ts";
import { whyNotWeightless } from "../../formats/onnx/weightless.ts";
import type { Artifact } from "./artifact.ts";
import { isWorthAFile } from "./packings.ts";
import { findPrepackingOperator, prepackedWeights, prepackingNodes } from "./prepacking.ts";

/** What the engine does with the weights of a program where it is loaded as tare chooses. */
export interface LoadForecast {
  /** The operator that makes it prepack; `undefined` where it gains nothing. */
  readonly prepackingOperator: string | undefined;
  /** Names of the weights that it keeps a packed copy of for each session. */
  readonly copied: ReadonlySet<string>;
  /** Names of the weights that have one packed copy for all sessions and processes. */
  readonly prepacked: ReadonlySet<string>;
  /** Names of the weights that it does not map: it has what is derived from them. Known once it was compiled. */
  readonly folded: ReadonlySet<string>;
  /** Why the program cannot be compiled without its weights; `undefined` where it can. */
  readonly weightlessBlocker: string | undefined;
}

/** Tells what a compilation showed: fusion makes operators that the program does not name. */
export function forecastCompiled(artifact: Artifact): LoadForecast {
  const { prepackingOperator, weightlessBlocker, prepackings } = artifact;
  const names = new Map(artifact.weights.map(({ input, name }) => [input, name]));
  const nameOf = (input: string): string => names.get(input) ?? "";
  const folded = new Set(artifact.folded?.dropped.map(nameOf));
  const inside = new Set(prepackings.flatMap(({ operands }) => operands.map(([, input]) => nameOf(input))));
  return {
    prepackingOperator,
    weightlessBlocker,
    ...(prepackingOperator === undefined
      ? NOTHING
      : {
          copied: new Set(artifact.prepacked.filter((name) => !inside.has(name))),
          prepacked: new Set(prepackings.map(({ input }) => nameOf(input))),
        }),
    folded,
  };
}

/** Tells what can be expected of a program that was not compiled yet. */
export function forecastProgram(graph: OnnxModel, bound: BoundTensors): LoadForecast {
  const prepackingOperator = findPrepackingOperator(graph);
  const weightlessBlocker = whyNotWeightless(graph, bound);
  if (prepackingOperator === undefined) return { prepackingOperator, weightlessBlocker, ...NOTHING };
  const weights = new Map(bound.weights.map((tensor) => [tensor.local, tensor]));
  const prepacked = new Set<string>();
  const inside = new Set<string>();
  for (const [value, nodes] of weightlessBlocker === undefined ? prepackingNodes(graph) : []) {
    const weight = weights.get(value);
    if (!weight || weight.dtype === "string" || !isWorthAFile({ ...weight, dtype: weight.dtype })) continue;
    prepacked.add(weight.name);
    for (const input of nodes.flatMap((node) => node.inputs)) inside.add(weights.get(input)?.name ?? "");
  }
  return {
    prepackingOperator,
    weightlessBlocker,
    copied: new Set(prepackedWeights(graph, bound).filter((name) => !inside.has(name))),
    prepacked,
    folded: NOTHING.folded,
  };
}

const NOTHING = { copied: new Set<string>(), prepacked: new Set<string>(), folded: new Set<string>() };
