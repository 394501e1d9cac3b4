import { EngineError } from "../errors.ts";
import type { StoredModel } from "../model/stored-model.ts";
import type { AnyEngine, EngineEntry } from "./engine-entry.ts";
import { LLAMA } from "./llama/entry.ts";
import { ENGINES } from "./registry.ts";

/** Names of formats for people; other formats are named by their ids. */
const FORMAT_NAMES: Readonly<Record<string, string>> = { onnx: "ONNX", gguf: "GGUF" };

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

/** Finds the engine that runs models of a format, the first of several; `undefined` if none does. */
export function engineOf(format: string, engines: readonly EngineEntry[] = ENGINES): EngineEntry | undefined {
  return engines.find(({ formats }) => formats.includes(format));
}

/**
 * Finds the entry of an engine's id in a list.
 * @throws EngineError `no-engine` if the list has none
 */
export function ownEntry(
  { id, label }: EngineEntry<AnyEngine, never>,
  engines: readonly EngineEntry[],
): EngineEntry {
  const own = engines.find((each) => each.id === id);
  if (own) return own;
  throw new EngineError("no-engine", `Cannot open ${label}: this runtime was opened without it`, {
    hint: `Add ${label} to the engines option of openRuntime`,
  });
}

/**
 * Chooses the engine that loads a model or a linked program.
 * @param entry the engine that the caller names; the first that runs the format unless given
 * @throws EngineError `no-engine` for an engine that the list does not have, or if it has none for the format;
 * `unsupported` for an engine that does not run the format, or for a format that no engine runs
 */
export function chooseEngine(
  { name, format }: { readonly name: string; readonly format: string },
  entry: EngineEntry<AnyEngine, never> | undefined,
  engines: readonly EngineEntry[],
): EngineEntry {
  if (entry) {
    const named = ownEntry(entry, engines);
    requireFormat(name, format, named, "load", engines);
    return named;
  }
  const own = engineOf(format, engines);
  if (!own) throw noEngine(name, format, "load", engines);
  if (own.id !== LLAMA.id) return own;
  const reason = `${own.label} loads ${formatName(format)} models with loadText`;
  throw new EngineError("unsupported", `Cannot load "${name}": ${reason}`, { hint: own.hint });
}

/**
 * Checks that an engine runs a model.
 * @param id id of the engine
 * @param doing verb of the error: "load", "generate text with"
 * @throws EngineError `unsupported`, with a hint that names the engine that runs the model; `no-engine`
 */
export function requireEngine(
  { name, config }: StoredModel,
  id: string,
  doing: string,
  engines: readonly EngineEntry[] = ENGINES,
): void {
  const entry = [...engines, ...ENGINES].find((each) => each.id === id);
  requireFormat(name, config.format, entry ?? { label: id, formats: [] }, doing, engines);
}

function requireFormat(
  name: string,
  format: string,
  { label, formats }: Pick<EngineEntry, "label" | "formats">,
  doing: string,
  engines: readonly EngineEntry[],
): void {
  if (formats.includes(format)) return;
  const own = engineOf(format, engines);
  if (!own) throw noEngine(name, format, doing, engines);
  const reason = `${label} does not run ${formatName(format)} models`;
  throw new EngineError("unsupported", `Cannot ${doing} "${name}": ${reason}`, { hint: own.hint });
}

/**
 * Makes the error for a model that no engine of a list runs: `no-engine` if tare has an engine for its format,
 * `unsupported` otherwise.
 */
export function noEngine(
  name: string,
  format: string,
  doing: string,
  engines: readonly EngineEntry[] = ENGINES,
): EngineError {
  const missing = engineOf(format);
  if (missing) {
    const labels = engines.map(({ label }) => label).join(", ");
    const reason = `this runtime has no engine for ${formatName(format)} models, it has ${labels || "none at all"}`;
    return new EngineError("no-engine", `Cannot ${doing} "${name}": ${reason}`, {
      hint: `Add ${missing.label} to the engines option of openRuntime`,
    });
  }
  const { reason, hint } = (Object.hasOwn(NO_ENGINE, format) ? NO_ENGINE[format] : undefined) ?? {
    reason: `${withArticle(format)} model has weights and no program, so no engine runs it by itself`,
    hint: "Add the model as ONNX or GGUF too: the weights that are the same are stored once",
  };
  return new EngineError("unsupported", `Cannot ${doing} "${name}": ${reason}`, {
    hint: hint.replace("%", () => name),
  });
}

function formatName(format: string): string {
  return (Object.hasOwn(FORMAT_NAMES, format) ? FORMAT_NAMES[format] : undefined) ?? format;
}

function withArticle(format: string): string {
  // The names of these letters start with a vowel: "an npy model".
  return `${/^([aeiou]|mlc|npy)/.test(format) ? "an" : "a"} ${format}`;
}
