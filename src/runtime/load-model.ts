import { requireEngine } from "../engines/engine-of.ts";
import type { AnyEngine, EngineEntry, SessionOf } from "../engines/engine-entry.ts";
import type { EngineLoadOptions } from "../engines/engine.ts";
import type { OpenEngines } from "../engines/open-engines.ts";
import { linkStored, type LinkStoredOptions } from "../link/link-stored.ts";
import { withModel } from "../store/with-model.ts";
import type { LocalStore } from "../local-store/local-store.ts";

/** The store and the engines of a load. */
export interface LoadHost {
  readonly store: LocalStore;
  readonly engines: OpenEngines;
}

/**
 * Loads a method of a stored model in an engine, which maps the files of the store.
 * @param entry entry of an engine that runs the model's format
 * @throws StoreError `not-found`, `missing-blob`, `corrupted`; LinkError; EngineError `unsupported`, `no-engine`
 */
export async function loadModel<E extends AnyEngine>(
  { store, engines }: LoadHost,
  entry: EngineEntry<E, never>,
  name: string,
  options: LinkStoredOptions & EngineLoadOptions = {},
): Promise<SessionOf<E>> {
  return withModel(store, name, async (model) => {
    requireEngine(model, entry.id, "load", engines.entries);
    const engine: AnyEngine = await engines.get(entry);
    const program = await linkStored(store, model, options);
    // requireEngine checked that the engine takes the program's format.
    return engine.load(program as never, options) as Promise<SessionOf<E>>;
  });
}
