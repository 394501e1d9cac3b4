import { compileSettings } from "../compile/backends.ts";
import type { CompileSettings } from "../compile/backends/compile-model.ts";
import { type CompiledStored, type CompileOptions, compileStored } from "../compile/compile-stored.ts";
import { ONNX_RUNTIME } from "../engines/onnxruntime/entry.ts";
import type { StoredModel } from "../model/stored-model.ts";
import { thisMachine } from "../node/machine.ts";
import type { LoadHost } from "./load-model.ts";

/** Compiles stored models for this machine with checked settings. */
export interface Compiler {
  readonly settings: CompileSettings;
  /** Compiles a model, or takes it from the cache of the store. @throws what {@link compileStored} throws */
  compile(model: StoredModel): Promise<CompiledStored>;
}

/**
 * Checks the options of a compilation. An engine starts with the first model that is compiled.
 * @throws UsageError for an unknown backend
 */
export function compilerFor({ store, engines }: LoadHost, options: CompileOptions): Compiler {
  const engine = async () => engines.get(ONNX_RUNTIME);
  const machine = thisMachine();
  const settings = compileSettings(options, engine, machine);
  return {
    settings,
    compile: async (model) => compileStored({ store, engine, machine }, model, settings, options.signal),
  };
}
