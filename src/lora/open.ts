import type { StoredModel } from "../model/stored-model.ts";
import type { LoraAdapter } from "./adapter.ts";
import { diffusersAdapter, isDiffusersLora } from "./diffusers-adapter.ts";
import { ggufAdapter } from "./gguf-adapter.ts";
import { isKohya, kohyaAdapter } from "./kohya-adapter.ts";
import { loraError } from "./lora-matrices.ts";
import { PEFT_CONFIG, peftAdapter } from "./peft-adapter.ts";
import type { BlobReader } from "../store/store.ts";

const READERS: Readonly<
  Record<LoraAdapter["layout"], (store: BlobReader, model: StoredModel) => Promise<LoraAdapter>>
> = { gguf: ggufAdapter, peft: peftAdapter, diffusers: diffusersAdapter, kohya: kohyaAdapter };

/**
 * Whether a model of the store is a LoRA, by the names of its weights. A model that has LoRA weights beside its own
 * weights is not.
 */
export function isLora(model: StoredModel): boolean {
  return layoutOf(model) !== undefined;
}

/**
 * Opens a LoRA of the store. Reads and checks its metadata; reads no weights but alphas.
 * @throws LinkError `mismatch` for a model that is not a LoRA; `unsupported`, `malformed`, `missing-weight` for a LoRA
 * that cannot be used
 */
export async function openLora(store: BlobReader, model: StoredModel): Promise<LoraAdapter> {
  const layout = layoutOf(model);
  if (layout) return READERS[layout](store, model);
  const hint =
    "Give a GGUF adapter, a folder that PEFT saved, or a file of LoRA pairs of diffusers or kohya's trainers";
  throw loraError("mismatch", model.name, "it has no LoRA pair", undefined, hint);
}

function layoutOf({ config }: StoredModel): LoraAdapter["layout"] | undefined {
  const names = config.methods.flatMap((method) => method.weights.map((weight) => weight.name));
  if (config.format === "gguf") return names.some((name) => /\.lora_[ab]$/.test(name)) ? "gguf" : undefined;
  if (config.format !== "safetensors" && config.format !== "pytorch") return undefined;
  const configured = config.files.some((file) => file.path === PEFT_CONFIG);
  if (!configured && isKohya(names)) return "kohya";
  if (!configured && isDiffusersLora(names)) return "diffusers";
  const pairs = names.filter((name) => /\.lora_(embedding_)?[AB](\.|$)/.test(name)).length;
  return pairs > 0 && (pairs === names.length || configured) ? "peft" : undefined;
}
