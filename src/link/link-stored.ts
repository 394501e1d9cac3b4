import type { LocalStore } from "../local-store/local-store.ts";
import { methodOf } from "../model/plan.ts";
import type { StoredModel } from "../model/stored-model.ts";
import { linkGguf } from "./link-gguf.ts";
import type { LinkedProgram } from "./linked-program.ts";
import { storedProgram } from "./stored-program.ts";
import { requireModel } from "../store/require-model.ts";

/** Options of {@link linkStored}. */
export interface LinkStoredOptions {
  /** Name of the method; optional if the model has one method. */
  readonly method?: string | undefined;
  /** Hash every weight, even if its file did not change since it was hashed. */
  readonly verify?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Links a method of a stored model to files of the store for its engine: blobs, or for llama.cpp a view of shards. Checks
 * that every weight exists and did not change since it was hashed.
 * @throws StoreError `missing-blob`, `corrupted`; LinkError `not-found`, `missing-weight`
 */
export async function linkStored(
  store: LocalStore,
  model: StoredModel,
  options: LinkStoredOptions = {},
): Promise<LinkedProgram> {
  const method = methodOf(model, options.method);
  if (model.config.format === "gguf") return (await linkGguf(store, model.name, options)).program;
  await requireModel(store, model, { full: options.verify, signal: options.signal });
  return storedProgram(store, model, method);
}
