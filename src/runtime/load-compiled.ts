import type { CompiledMethod } from "../compile/backends/compiled-model.ts";
import { type CompileOptions, storedPlaces } from "../compile/compile-stored.ts";
import { loadCompiledMethod } from "../compile/load-compiled.ts";
import type { Session } from "../engines/engine.ts";
import type { OrtLoadOptions } from "../engines/onnxruntime/engine.ts";
import { ONNX_RUNTIME } from "../engines/onnxruntime/entry.ts";
import type { LinkStoredOptions } from "../link/link-stored.ts";
import { methodOf } from "../model/plan.ts";
import type { StoredModel } from "../model/stored-model.ts";
import { requireModel } from "../store/require-model.ts";
import { compilerFor } from "./compiler-for.ts";
import type { LoadHost } from "./load-model.ts";

/** Options of a load of a compiled model. */
export type LoadCompiledOptions = CompileOptions & LinkStoredOptions & Omit<OrtLoadOptions, "level">;

/**
 * Loads the compiled partitions of a method as one session that maps the blobs of the store. Compiles the model first if
 * the cache does not have it.
 * @throws what {@link compileStored} throws; StoreError `missing-blob`, `corrupted`; LinkError; EngineError
 */
export async function loadCompiled(
  host: LoadHost,
  model: StoredModel,
  options: LoadCompiledOptions,
): Promise<Session> {
  const { store, engines } = host;
  const compiler = compilerFor(host, options);
  const { name: method } = methodOf(model, options.method);
  const compiled = await compiler.compile(model);
  await requireModel(store, model, { full: options.verify, signal: options.signal });
  const places = storedPlaces(store, model, compiled);
  const found = compiled.model.methods.find((each) => each.name === method) as CompiledMethod;
  return loadCompiledMethod(
    found,
    places,
    await engines.get(ONNX_RUNTIME),
    compiler.settings.backends,
    options,
  );
}
