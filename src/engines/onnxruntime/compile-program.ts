import { SparseBytes } from "../../encodings/protobuf/sparse-bytes.ts";
import { EngineError } from "../../errors.ts";
import { parseOnnx } from "../../formats/onnx/parse.ts";
import { cutTemplate, whyNotWeightless, writeWeightless } from "../../formats/onnx/weightless.ts";
import type { OnnxProgram } from "../../link/linked-program.ts";
import type { Artifact } from "./artifact.ts";
import { foldingsOf } from "./foldings.ts";
import {
  findMispackedNode,
  findPrepackingOperator,
  prepackedValues,
  prepackedWeights,
} from "./prepacking.ts";
import { prepackingsOf } from "./prepackings.ts";
import type { CompileTarget } from "./program-key.ts";
import { signatureOf } from "./signature.ts";
import type { EngineThread } from "./thread.ts";

/** Optimizes a program without its weights. If that is not possible, the engine optimizes it at each load. */
export async function compileProgram(
  program: OnnxProgram,
  target: CompileTarget,
  thread: EngineThread,
): Promise<Artifact> {
  const { view, graph, bind, bound } = program;
  const signature = signatureOf(graph);
  const leave = (weightlessBlocker: string): Artifact => {
    const inputs = new Set(signature.inputs.map((port) => port.name));
    // Prepacking gives wrong results for such a program, also in plain ONNX Runtime. Without it, the program is slow and correct.
    const prepackingOperator = findMispackedNode(graph, (value) => !inputs.has(value))
      ? undefined
      : findPrepackingOperator(graph);
    const prepacked = prepackedWeights(graph, bound);
    return {
      signature,
      weights: [],
      prepackingOperator,
      prepacked,
      prepackings: [],
      template: undefined,
      weightlessBlocker,
      folded: undefined,
    };
  };
  const weightlessBlocker = whyNotWeightless(graph, bound);
  if (weightlessBlocker !== undefined) return leave(weightlessBlocker);
  const { bytes, inputs } = writeWeightless(view, graph, bind, bound);
  const settings = { level: target.level, prepack: false, threads: 1, spinning: false, folder: undefined };
  let optimized: Uint8Array;
  try {
    optimized = await thread.ask({ op: "compile", model: bytes, settings });
  } catch (error) {
    // Some kernels need constant weights: the engine then loads the model with its weights, or reports the error.
    if (error instanceof EngineError && error.code === "engine") return leave(error.message);
    throw error;
  }
  const tensors = new Map(bound.weights.map((tensor) => [tensor.name, tensor]));
  const weights = [...inputs].flatMap(([input, name]) => {
    const tensor = tensors.get(name);
    return tensor && tensor.dtype !== "string"
      ? [{ input, name, dtype: tensor.dtype, shape: tensor.shape }]
      : [];
  });
  const compiledView = new SparseBytes("compiled program", optimized);
  const compiled = parseOnnx(compiledView);
  const constants = new Set([...inputs.keys(), ...compiled.tensors.map((tensor) => tensor.local)]);
  const mispacked = findMispackedNode(compiled, (value) => constants.has(value));
  // With the weights, the optimizer makes these values constants.
  if (mispacked) return leave(`the scales of ${mispacked.opType} are computed, and it needs constants`);
  const copied = prepackedValues(compiled);
  // Before IR version 4 the engine lists every constant as an input, also those that it folded away. Keep only inputs
  // that the program uses.
  const fed = new Set(signature.inputs.map((port) => port.name));
  const unfed = new Set(compiled.graph.inputs.map((input) => input.name).filter((name) => !fed.has(name)));
  const prepackingOperator = findPrepackingOperator(compiled);
  return {
    signature,
    weights,
    prepackingOperator,
    prepacked: weights.filter((weight) => copied.has(weight.input)).map((weight) => weight.name),
    prepackings: prepackingsOf(compiledView, compiled, weights),
    template: cutTemplate(optimized, unfed),
    weightlessBlocker: undefined,
    // The engine prepacks constants but not computed values: a folded constant would have a prepacked copy in each session.
    folded:
      prepackingOperator === undefined
        ? await foldingsOf(compiledView, compiled, weights, unfed, thread)
        : undefined,
  };
}
