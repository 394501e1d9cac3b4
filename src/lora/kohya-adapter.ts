import type { StoredModel } from "../model/stored-model.ts";
import { type LoraAdapter, type LoraModule, type LoraPair, someNames } from "./adapter.ts";
import { checkMatrices, type LoraMatrices, loraError, type NameMatrix } from "./lora-matrices.ts";
import { productOf } from "./peft-pair.ts";
import { pairsAndAlphas } from "./read-alphas.ts";
import type { BlobReader } from "../store/store.ts";

/** Folders of a pipeline by the prefix of names. */
const PARTS: Readonly<Record<string, readonly string[]>> = {
  lora_unet_: ["unet", "transformer"],
  lora_te_: ["text_encoder"],
  lora_te1_: ["text_encoder"],
  lora_te2_: ["text_encoder_2"],
  lora_te3_: ["text_encoder_3"],
};

/** Whether weights have the names of a LoRA of kohya's trainers. Ignores other weights. */
export function isKohya(names: readonly string[]): boolean {
  return (
    names.some((name) => name.endsWith(".lora_down.weight")) &&
    names.every((name) => name.startsWith("lora_"))
  );
}

/**
 * Reads a LoRA as kohya's trainers save it: `lora_unet_MODULE.lora_down.weight`, `.lora_up.weight` and `.alpha`, each dot
 * of the module's name written as an underscore. Reads no weights but the alphas.
 * Source: https://github.com/kohya-ss/sd-scripts/blob/main/networks/lora.py
 * @throws LinkError for an incomplete adapter, or one with more than LoRA pairs
 */
export async function kohyaAdapter(store: BlobReader, model: StoredModel): Promise<LoraAdapter> {
  const { name } = model;
  const { found, alphas } = await pairsAndAlphas(store, model, nameMatrix);
  const pairs = found.map((each) => pairOf(name, each, alphas.get(each.module)));
  const without = pairs.filter((pair) => !alphas.has(pair.module)).map((pair) => pair.module);
  const notes =
    without.length === 0 ? [] : [`${someNames(without)}: without an alpha, the rank counts as alpha`];
  return { model, layout: "kohya", architecture: undefined, pairs, copies: [], notes };
}

const nameMatrix: NameMatrix = (name) => {
  const [, module, matrix] = /^(.+)\.lora_(down|up)\.weight$/s.exec(name) ?? [];
  if (module === undefined) return undefined;
  return { module, matrix: matrix === "down" ? "a" : "b", embedding: false };
};

function pairOf(adapter: string, matrices: LoraMatrices, said: number | undefined): LoraPair {
  const rank = checkMatrices(adapter, matrices, 0, 1);
  const alpha = said ?? rank;
  const module = moduleOf(adapter, matrices.module);
  const common = { ...module, rank, alpha, scaling: alpha / rank, embedding: false, fanInFanOut: false };
  return { ...common, ...productOf(matrices) };
}

function moduleOf(adapter: string, module: string): LoraModule {
  const [start, components] = Object.entries(PARTS).find(([each]) => module.startsWith(each)) ?? [];
  if (start === undefined || components === undefined) {
    const known = Object.keys(PARTS).join(", ");
    throw loraError("unsupported", adapter, `"${module}" starts with none of ${known}`, module);
  }
  return { module, target: module.slice(start.length), components, flattened: true };
}
