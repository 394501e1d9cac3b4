import type { AnyEngine, SessionOf } from "../engines/engine-entry.ts";
import type { EngineLoadOptions } from "../engines/engine.ts";
import type { LinkedProgram } from "../link/linked-program.ts";

/**
 * Loads a linked program in an engine that runs its format. The session owns the program's lease; a failed load, or an
 * engine that does not open, releases it.
 * @throws LinkError for weights that do not match; EngineError
 */
export async function loadLinked<E extends AnyEngine>(
  engine: E | Promise<E>,
  program: LinkedProgram,
  options: EngineLoadOptions,
): Promise<SessionOf<E>> {
  try {
    const opened: AnyEngine = await engine;
    // The caller chose an engine of the program's format.
    return (await opened.load(program as never, options)) as SessionOf<E>;
  } catch (error) {
    await program.lease?.[Symbol.asyncDispose]();
    throw error;
  }
}
