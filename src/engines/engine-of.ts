import { EngineError } from "../errors.ts";
import type { StoredModel } from "../model/stored-model.ts";

/** Formats whose models an engine runs by themselves; others are weights without a program. */
const ENGINES: Readonly<Record<string, Runner>> = { onnx: "ONNX Runtime", gguf: "llama.cpp" };
const HINTS = {
  "ONNX Runtime": "store.load (tare run, with inputs) runs it in ONNX Runtime",
  "llama.cpp": "loadText (tare run) runs it in llama.cpp; tare link makes a folder that llama.cpp opens",
} as const;

/** An engine, as people call it. */
export type Runner = "ONNX Runtime" | "llama.cpp";

/** The engine that runs models of a format; `undefined` where none does by itself. */
export function engineOf(format: string): Runner | undefined {
  return Object.hasOwn(ENGINES, format) ? ENGINES[format] : undefined;
}

/**
 * Refuses a model that is not for an engine.
 * @param doing what is refused: "load", "generate text with"
 * @throws EngineError `unsupported`, whose hint says what runs it
 */
export function requireEngine({ name, config }: StoredModel, engine: Runner, doing: string): void {
  const { format } = config;
  const own = engineOf(format);
  if (own === engine) return;
  if (!own) throw noEngine(name, format, doing);
  throw new EngineError("unsupported", `Cannot ${doing} "${name}": ${engine} does not run ${format} models`, {
    hint: HINTS[own],
  });
}

/** The error for a model that no engine runs. */
export function noEngine(name: string, format: string, doing: string): EngineError {
  if (format === "mlir") {
    return new EngineError(
      "unsupported",
      `Cannot ${doing} "${name}": an mlir model is for compilers, and no engine runs it`,
      {
        hint: "tare export writes it back for them; tare detach and tare attach compile it without its weights",
      },
    );
  }
  if (format === "executorch") {
    return new EngineError(
      "unsupported",
      `Cannot ${doing} "${name}": tare has no engine for ExecuTorch programs`,
      { hint: `tare export ${name} writes the files that ExecuTorch's own runtime runs` },
    );
  }
  return new EngineError(
    "unsupported",
    `Cannot ${doing} "${name}": a ${format} model has weights and no program, so no engine runs it by itself`,
    { hint: "add the model as ONNX or GGUF too: the weights that are the same are stored once" },
  );
}
