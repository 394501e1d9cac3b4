import type { LinkedOnnx, OnnxProgram } from "../../link/linked-program.ts";
import { whyNotWeightless } from "../../formats/onnx/weightless.ts";
import type { EngineCaches } from "../engine-caches.ts";
import { type LoadForecast, plainForecast } from "../load-forecast.ts";
import type { Artifact } from "./artifact.ts";
import { readArtifact } from "./compiler.ts";
import { installedVersion } from "./installed-version.ts";
import { findPrepackingOperator, prepackedWeights, prepackingNodes } from "./prepacking.ts";
import { isWorthAFile } from "./prepackings.ts";
import { compileKey, DEFAULT_LEVEL, programKey } from "./program-key.ts";
import { signatureOf } from "./signature.ts";

/** Forecasts how ONNX Runtime uses the weights of a program, from its cached compilation, else from its graph. */
export async function forecastLoad(
  program: LinkedOnnx,
  { compiled }: Pick<EngineCaches, "compiled">,
): Promise<LoadForecast> {
  const opened = await program.open();
  const version = installedVersion();
  const key =
    version !== undefined && compileKey(programKey(program.plan), { version, level: DEFAULT_LEVEL });
  const artifact = key ? await readArtifact(compiled, key) : undefined;
  return artifact ? forecastCompiled(opened, artifact) : forecastProgram(opened);
}

/** Forecasts from a compilation, whose fused operators are not in the original program. */
function forecastCompiled({ graph }: OnnxProgram, artifact: Artifact): LoadForecast {
  const { prepackingOperator, weightlessBlocker, prepackings } = artifact;
  const names = new Map(artifact.weights.map(({ input, name }) => [input, name]));
  const nameOf = (input: string): string => names.get(input) ?? "";
  const folded = new Set(artifact.folded?.dropped.map(nameOf));
  const forecast = { ...plainForecast(signatureOf(graph)), prepackingOperator, weightlessBlocker, folded };
  if (prepackingOperator === undefined) return forecast;
  const inside = new Set(prepackings.flatMap(({ operands }) => operands.map(([, input]) => nameOf(input))));
  return {
    ...forecast,
    copied: new Set(artifact.prepacked.filter((name) => !inside.has(name))),
    prepacked: new Set(prepackings.map(({ input }) => nameOf(input))),
  };
}

/** Forecasts for a program that is not compiled yet. */
function forecastProgram({ graph, bound }: OnnxProgram): LoadForecast {
  const prepackingOperator = findPrepackingOperator(graph);
  const weightlessBlocker = whyNotWeightless(graph, bound);
  const forecast = { ...plainForecast(signatureOf(graph)), prepackingOperator, weightlessBlocker };
  if (prepackingOperator === undefined) return forecast;
  const weights = new Map(bound.weights.map((tensor) => [tensor.local, tensor]));
  const prepacked = new Set<string>();
  const inside = new Set<string>();
  for (const [value, nodes] of weightlessBlocker === undefined ? prepackingNodes(graph) : []) {
    const weight = weights.get(value);
    if (!weight || weight.dtype === "string" || !isWorthAFile({ ...weight, dtype: weight.dtype })) continue;
    prepacked.add(weight.name);
    for (const input of nodes.flatMap((node) => node.inputs)) inside.add(weights.get(input)?.name ?? "");
  }
  const copied = prepackedWeights(graph, bound).filter((name) => !inside.has(name));
  return { ...forecast, copied: new Set(copied), prepacked };
}
