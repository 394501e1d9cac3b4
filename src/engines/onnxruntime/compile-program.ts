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

/** Optimizes a program without its weights; what cannot be is left to the engine to optimize at each load. */
export async function compileProgram(
  program: OnnxProgram,
  target: CompileTarget,
  thread: EngineThread,
): Promise<Artifact> {
  const { view, graph, bind, bound } = program;
  const signature = signatureOf(graph);
  const leave = (weightlessBlocker: string): Artifact => {
    const inputs = new Set(signature.inputs.map((port) => port.name));
    // Prepacking gives wrong results, as it does in stock: without it, such a program is slow and correct.
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
    // Some kernels need a constant where a weight was: the engine then gets the model with its weights, or reports the error.
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
  // The optimizer makes them constants where it sees the weights that they are computed from.
  if (mispacked) return leave(`the scales of ${mispacked.opType} are computed, and it needs constants`);
  const copied = prepackedValues(compiled);
  // Before IR version 4 the engine lists every constant as an input, and those it folded away still: only what the
  // program takes is an input.
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
    // The engine prepacks no computed value; folded constants it would prepack, for each session.
    folded:
      prepackingOperator === undefined
        ? await foldingsOf(compiledView, compiled, weights, unfed, thread)
        : undefined,
  };
}
