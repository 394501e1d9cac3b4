import { type LoraInfo, lorasOf } from "../lora/lora-bases.ts";
import { sharesOf, usersOf } from "../model/sharing.ts";
import { listModels } from "../store/read-model.ts";
import type { Store } from "../store/store.ts";
import type { Digest } from "../tensor/digest.ts";

/** Name, format and sizes of a model of a store. Sizes in bytes. */
export interface ModelSummary {
  readonly name: string;
  readonly digest: Digest;
  readonly format: string;
  readonly methods: readonly string[];
  readonly fileBytes: number;
  readonly sharedBytes: number;
  readonly ownBytes: number;
  /** Given for a LoRA adapter: its rank, and the models that it fits. */
  readonly lora?: LoraInfo;
}

/**
 * Summarizes the models of a store, by name.
 * @throws StoreError `missing-blob`, `corrupted`; FormatError
 */
export async function summarizeModels(store: Store): Promise<ModelSummary[]> {
  const models = await listModels(store);
  const users = usersOf(models);
  const loras = await lorasOf(store, models);
  return models.map((model) => {
    const lora = loras.get(model.name);
    return {
      name: model.name,
      digest: model.digest,
      format: model.config.format,
      methods: model.config.methods.map((method) => method.name),
      fileBytes: model.config.files.reduce((sum, file) => sum + file.size, 0),
      ...sharesOf(model, users),
      ...(lora && { lora }),
    };
  });
}
