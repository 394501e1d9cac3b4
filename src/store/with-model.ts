import type { StoredModel } from "../model/stored-model.ts";
import { findTag, readModel } from "./read-model.ts";
import type { Store } from "./store.ts";

const MAX_ATTEMPTS = 5;

/**
 * Calls `use` with a model, and again if it fails because another process repacked the model.
 * @throws StoreError `not-found`, `missing-blob`, `corrupted`; the errors of `use`
 */
export async function withModel<T>(
  store: Store,
  name: string,
  use: (model: StoredModel) => Promise<T>,
): Promise<T> {
  return withModels(store, [name], ([model]) => use(model as StoredModel));
}

/** Calls `use` with several models, as {@link withModel} does with one. */
export async function withModels<T>(
  store: Store,
  names: readonly string[],
  use: (models: readonly StoredModel[]) => Promise<T>,
): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    const models = await Promise.all(names.map((name) => readModel(store, name)));
    try {
      return await use(models);
    } catch (error) {
      const tags = await Promise.all(names.map((name) => findTag(store, name))).catch(() => undefined);
      const moved = tags?.some((tag, index) => tag.digest !== models[index]?.digest);
      if (!moved || attempt === MAX_ATTEMPTS) throw error;
    }
  }
}
