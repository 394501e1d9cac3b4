import { EngineError } from "../errors.ts";
import type { StoredModel } from "../model/stored-model.ts";
import type { EngineEntry } from "./engine-entry.ts";
import { ENGINES } from "./registry.ts";

/** Reason why no engine runs models of a format, and a hint; `%` stands for the model's name. */
const NO_ENGINE: Readonly<Record<string, { readonly reason: string; readonly hint: string }>> = {
  mlir: {
    reason: "an mlir model is for compilers, and no engine runs it",
    hint: "Write it back for them with tare export; compile it without its weights with tare detach and tare attach",
  },
  executorch: {
    reason: "tare has no engine for ExecuTorch programs",
    hint: "Write the files for ExecuTorch's runtime with tare export %",
  },
};

/** Finds the engine that runs models of a format; `undefined` if none does. */
export function engineOf(format: string, engines: readonly EngineEntry[] = ENGINES): EngineEntry | undefined {
  return engines.find(({ formats }) => formats.includes(format));
}

/**
 * Checks that an engine runs a model.
 * @param id id of the engine
 * @param doing verb of the error: "load", "generate text with"
 * @throws EngineError `unsupported`, with a hint that names the engine that runs the model
 */
export function requireEngine(
  { name, config }: StoredModel,
  id: string,
  doing: string,
  engines: readonly EngineEntry[] = ENGINES,
): void {
  const { format } = config;
  const own = engineOf(format, engines);
  if (own?.id === id) return;
  if (!own) throw noEngine(name, format, doing);
  const label = engines.find((each) => each.id === id)?.label ?? id;
  throw new EngineError("unsupported", `Cannot ${doing} "${name}": ${label} does not run ${format} models`, {
    hint: own.hint,
  });
}

/** Makes the error for a model that no engine runs. */
export function noEngine(name: string, format: string, doing: string): EngineError {
  const { reason, hint } = (Object.hasOwn(NO_ENGINE, format) ? NO_ENGINE[format] : undefined) ?? {
    reason: `a ${format} model has weights and no program, so no engine runs it by itself`,
    hint: "Add the model as ONNX or GGUF too: the weights that are the same are stored once",
  };
  return new EngineError("unsupported", `Cannot ${doing} "${name}": ${reason}`, {
    hint: hint.replace("%", () => name),
  });
}
