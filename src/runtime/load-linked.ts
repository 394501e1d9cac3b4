import type { LinkedOnnx } from "../link/linked-program.ts";
import type { Session } from "../engines/engine.ts";
import type { OnnxRuntime, OrtLoadOptions } from "../engines/onnxruntime/engine.ts";
import type { OrtSessionInfo } from "../engines/onnxruntime/session.ts";

/**
 * Loads a linked program. The session owns the program's lease; a failed load releases it.
 * @throws LinkError for weights that do not match; EngineError
 */
export async function loadLinked(
  engine: OnnxRuntime,
  program: LinkedOnnx,
  options: OrtLoadOptions,
): Promise<OrtSessionInfo & Session> {
  try {
    return await engine.load(program, options);
  } catch (error) {
    await program.lease?.[Symbol.asyncDispose]();
    throw error;
  }
}
