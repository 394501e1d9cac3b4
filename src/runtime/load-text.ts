import type { Llama, LlamaLoadOptions } from "../engines/llama/engine.ts";
import type { LlamaSession } from "../engines/llama/session.ts";
import { type Adapter, filesExist, linkGguf, type SeenModels } from "../link/link-gguf.ts";
import type { LocalStore } from "../local-store/local-store.ts";
import { checkLoraCompatibility } from "../lora/lora-bases.ts";
import type { StoredModel } from "../model/stored-model.ts";
import { loadLinked } from "./load-linked.ts";

/** Number of attempts to load. Another process may remove or replace a view just before the engine opens it. */
const MAX_ATTEMPTS = 3;

/** Options of {@link loadText}. */
export interface TextLoadOptions extends LlamaLoadOptions {
  /** LoRA adapters of the store to apply to the model. */
  readonly adapters?: readonly Adapter[] | undefined;
  /** Hash every weight before the load, even if its file did not change since it was hashed. */
  readonly verify?: boolean | undefined;
}

/** A loaded session, and the manifests of its model and adapters at the time of the load. */
export interface LoadedText {
  readonly session: LlamaSession;
  readonly model: StoredModel;
  readonly adapters: readonly StoredModel[];
}

/**
 * Loads a GGUF model of a store from the shards of its family.
 * @param seen models that were read before; the load adds the models that it reads
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
  // Check before the load: llama.cpp reports an adapter that does not match late and without details.
  await checkLoraCompatibility(
    store,
    name,
    adapters.map((adapter) => adapter.model),
  );
  for (let attempt = 1; ; attempt++) {
    const linked = await linkGguf(store, name, { ...options, seen });
    try {
      const session = await loadLinked(engine, linked.program, options);
      return { session, model: linked.model, adapters: linked.adapters };
    } catch (error) {
      if (filesExist(linked.program) || attempt === MAX_ATTEMPTS) throw error;
    }
  }
}
