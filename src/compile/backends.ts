import type { Backend } from "./backends/backend.ts";
import type { CompileSettings } from "./backends/compile-model.ts";
import type { Machine } from "./backends/fit.ts";
import { PortableBackend } from "./backends/portable.ts";
import type { OnnxRuntime } from "../engines/onnxruntime/engine.ts";
import { installedVersion } from "../engines/onnxruntime/installed-version.ts";
import { UsageError } from "../errors.ts";
import type { CompileOptions } from "./compile-stored.ts";
import { OnnxRuntimeBackend } from "./ort-backend.ts";

/** Combines the settings of the caller with the built-in backends. */
export function compileSettings(
  { backends = [], partition = [], settings = {} }: CompileOptions,
  engine: () => Promise<OnnxRuntime>,
  machine: Machine,
): CompileSettings {
  return { backends: chooseBackends(backends, engine, machine), rules: partition, options: settings };
}

/**
 * Lists the backends of a compilation in order of preference: the given ones, then the other built-in ones.
 * @throws UsageError for an unknown id, or for an id that two backends have
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
      hint: `Use one of ${builtIn.map((backend) => backend.id).join(", ")}`,
    });
  });
  const twice = chosen.find(({ id }, index) => chosen.findIndex((other) => other.id === id) !== index);
  if (twice) throw new UsageError("usage", `Cannot compile with two backends of id "${twice.id}"`);
  return [...chosen, ...builtIn.filter((each) => !chosen.some((other) => other.id === each.id))];
}
