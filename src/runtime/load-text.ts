import type { Llama, LlamaLoadOptions } from "../engines/llama/engine.ts";
import type { LlamaSession } from "../engines/llama/session.ts";
import { type Adapter, filesExist, linkGguf, type SeenModels } from "../link/link-gguf.ts";
import type { LocalStore } from "../local-store/local-store.ts";
import { checkLoraCompatibility } from "../lora/lora-bases.ts";
import type { StoredModel } from "../model/stored-model.ts";

/** Another process may collect views, or make one anew, just when the engine is about to open it. */
const MAX_ATTEMPTS = 3;

/** Options of `TareStore.loadText`. */
export interface TextLoadOptions extends LlamaLoadOptions {
  readonly adapters?: readonly Adapter[] | undefined;
  /** Hash every weight before it is used, even if nobody wrote to it since it was hashed. */
  readonly verify?: boolean | undefined;
}

/** A model that was loaded, as the store had it. */
export interface LoadedText {
  readonly session: LlamaSession;
  readonly model: StoredModel;
  readonly adapters: readonly StoredModel[];
}

/**
 * Loads a GGUF model of a store, over the shards of its family.
 * @param seen need not be read again; those that are read are added
 * @throws StoreError `not-found`, `missing-blob`, `corrupted`; EngineError
 */
export async function loadText(
  store: LocalStore,
  engine: Llama,
  name: string,
  options: TextLoadOptions = {},
  seen: SeenModels = new Map(),
): Promise<LoadedText> {
  const { adapters = [] } = options;
  // Before the engine is given anything: its own errors come late and say little.
  await checkLoraCompatibility(
    store,
    name,
    adapters.map((adapter) => adapter.model),
  );
  for (let attempt = 1; ; attempt++) {
    const linked = await linkGguf(store, name, { ...options, seen });
    try {
      const session = await engine.load(linked.program, options);
      return { session, model: linked.model, adapters: linked.adapters };
    } catch (error) {
      if (filesExist(linked.program) || attempt === MAX_ATTEMPTS) throw error;
    }
  }
}
