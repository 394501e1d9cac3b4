import type { Backend } from "./backends/backend.ts";
import type { CompileSettings } from "./backends/compile-model.ts";
import type { Machine } from "./backends/fit.ts";
import { PortableBackend } from "./backends/portable.ts";
import type { OnnxRuntime } from "../engines/onnxruntime/engine.ts";
import { installedVersion } from "../engines/onnxruntime/installed-version.ts";
import { UsageError } from "../errors.ts";
import type { CompileOptions } from "./compile-stored.ts";
import { OnnxRuntimeBackend } from "./ort-backend.ts";

/** The settings of a compilation: those of its caller, and the built-in backends. */
export function compileSettings(
  { backends = [], partition = [], settings = {} }: CompileOptions,
  engine: () => Promise<OnnxRuntime>,
  machine: Machine,
): CompileSettings {
  return { backends: chooseBackends(backends, engine, machine), rules: partition, options: settings };
}

/**
 * The backends that compile a model, in the order of preference: those named, then the built-in ones that were not.
 * @throws UsageError for an id that is none, or that two backends have
 */
export function chooseBackends(
  named: readonly (string | Backend)[],
  engine: () => Promise<OnnxRuntime>,
  machine: Machine,
): Backend[] {
  const onnxruntime = new OnnxRuntimeBackend(installedVersion() ?? "none", engine, machine);
  const builtIn: readonly Backend[] = [onnxruntime, new PortableBackend()];
  const chosen = named.map((each) => {
    if (typeof each !== "string") return each;
    const found = builtIn.find((backend) => backend.id === each);
    if (found) return found;
    throw new UsageError("usage", `Cannot compile with "${each}": there is no such backend`, {
      hint: `there is ${builtIn.map((backend) => backend.id).join(", ")}`,
    });
  });
  const twice = chosen.find(({ id }, index) => chosen.findIndex((other) => other.id === id) !== index);
  if (twice) throw new UsageError("usage", `Cannot compile with two backends that are called "${twice.id}"`);
  return [...chosen, ...builtIn.filter((each) => !chosen.some((other) => other.id === each.id))];
}
