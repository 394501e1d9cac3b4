import type { StoredModel } from "../model/stored-model.ts";
import type { LoraAdapter } from "./adapter.ts";
import { ggufAdapter } from "./gguf-adapter.ts";
import { loraError } from "./lora-matrices.ts";
import { PEFT_CONFIG, peftAdapter } from "./peft-adapter.ts";
import type { BlobReader } from "../store/store.ts";

/**
 * Whether a model of the store is a LoRA, by its names; nothing is read. A model that has LoRA weights beside its own is
 * none.
 */
export function isLora({ config }: StoredModel): boolean {
  const names = config.methods.flatMap((method) => method.weights.map((weight) => weight.name));
  if (config.format === "gguf") return names.some((name) => /\.lora_[ab]$/.test(name));
  if (config.format !== "safetensors") return false;
  const pairs = names.filter((name) => /\.lora_(embedding_)?[AB](\.|$)/.test(name)).length;
  return pairs > 0 && (pairs === names.length || config.files.some((file) => file.path === PEFT_CONFIG));
}

/**
 * Opens a LoRA of the store: its metadata is read and checked, its weights are not.
 * @throws LinkError `mismatch` for a model that is no LoRA; `unsupported`, `malformed`, `missing-weight` for one that
 * cannot be used
 */
export async function openLora(store: BlobReader, model: StoredModel): Promise<LoraAdapter> {
  if (!isLora(model)) {
    const hint = "a LoRA is a GGUF adapter, or the folder that PEFT saved";
    throw loraError("mismatch", model.name, "it has no LoRA pair", undefined, hint);
  }
  return model.config.format === "gguf" ? ggufAdapter(store, model) : peftAdapter(store, model);
}
