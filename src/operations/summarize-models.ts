import type { TareError } from "../errors.ts";
import { type LoraInfo, lorasOf } from "../lora/lora-bases.ts";
import { sharesOf, usersOf } from "../model/sharing.ts";
import { listReadable } from "../store/read-model.ts";
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
  /** Given for a model that cannot be read: sizes are 0, `format` and `methods` are empty. */
  readonly damaged?: TareError;
}

/** Summarizes the models of a store, by name. A model that cannot be read has its error, and no sizes. */
export async function summarizeModels(store: Store): Promise<ModelSummary[]> {
  const all = await listReadable(store);
  const models = all.filter((each) => "config" in each);
  const users = usersOf(models);
  const loras = await lorasOf(store, models);
  return all.map((model) => {
    const { name, digest } = model;
    if ("error" in model) {
      const { error: damaged } = model;
      return { name, digest, format: "", methods: [], fileBytes: 0, sharedBytes: 0, ownBytes: 0, damaged };
    }
    const lora = loras.get(name);
    return {
      name,
      digest,
      format: model.config.format,
      methods: model.config.methods.map((method) => method.name),
      fileBytes: model.config.files.reduce((sum, file) => sum + file.size, 0),
      ...sharesOf(model, users),
      ...(lora && { lora }),
    };
  });
}
