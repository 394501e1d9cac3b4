import { EngineError } from "../../errors.ts";
import { writeThin } from "../../formats/onnx/thin.ts";
import type { CompiledProgram, LinkedOnnx } from "../../link/linked-program.ts";
import type { BoundModel } from "./bind-program.ts";
import { findMispackedNode, findPrepackingOperator } from "./prepacking.ts";
import { LEVELS } from "./protocol.ts";

/**
 * Binds a program that was compiled ahead of time, which the engine opens without compiling it.
 * @throws EngineError `bad-input` for a level that the engine does not have
 */
export async function bindCompiled(
  program: Pick<LinkedOnnx, "name" | "open">,
  { signature, level: given, weightlessBlocker }: CompiledProgram,
): Promise<BoundModel> {
  const level = LEVELS.find((each) => each === given);
  if (!level) {
    throw new EngineError(
      "bad-input",
      `Cannot load ${program.name}: its record has no valid optimization level`,
    );
  }
  const { view, graph, bind, bound } = await program.open();
  const constants = new Set(graph.tensors.map((tensor) => tensor.local));
  const mispacked = findMispackedNode(graph, (value) => constants.has(value));
  return {
    model: writeThin(view, graph, bind, bound),
    signature,
    level,
    prepackingOperator: mispacked ? undefined : findPrepackingOperator(graph),
    prepackedWeights: [],
    foldedWeights: [],
    weightlessBlocker,
    cached: true,
    inputs: new Map(),
  };
}
