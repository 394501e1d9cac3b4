import type { AnyEngine, EngineEntry, SessionOf } from "../engines/engine-entry.ts";
import type { EngineLoadOptions } from "../engines/engine.ts";
import type { OpenEngines } from "../engines/open-engines.ts";
import { linkStored, type LinkStoredOptions } from "../link/link-stored.ts";
import type { LocalStore } from "../local-store/local-store.ts";
import { withModel } from "../store/with-model.ts";
import { loadLinked } from "./load-linked.ts";

/** The store and the engines of a load. */
export interface LoadHost {
  readonly store: LocalStore;
  readonly engines: OpenEngines;
}

/**
 * Loads a method of a stored model in an engine, which maps the files of the store.
 * @param entry the engine, which runs the model's format; the first of the host that does unless given
 * @throws StoreError `not-found`, `missing-blob`, `corrupted`; LinkError; EngineError `unsupported`, `no-engine`
 */
export async function loadModel<E extends AnyEngine>(
  { store, engines }: LoadHost,
  entry: EngineEntry<E, never> | undefined,
  name: string,
  options: LinkStoredOptions & EngineLoadOptions = {},
): Promise<SessionOf<E>> {
  return withModel(store, name, async (model): Promise<SessionOf<E>> => {
    // Open the engine first: the link of a GGUF model may repack its whole family.
    const engine = await engines.getFor({ name, format: model.config.format }, entry);
    const program = await linkStored(store, model, options);
    return loadLinked(engine, program, options);
  });
}
