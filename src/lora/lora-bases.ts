import { LinkError, TareError } from "../errors.ts";
import type { LoraAdapter } from "./adapter.ts";
import { openBase } from "./base.ts";
import type { LoraBase } from "./lora-base.ts";
import { matchLora } from "./fit.ts";
import { isLora, openLora } from "./open.ts";
import type { StoredModel } from "../model/stored-model.ts";
import type { Store } from "../store/store.ts";
import { readModel } from "../store/read-model.ts";

/** What a LoRA adapter of the store is for. */
export interface LoraInfo {
  /** Models of the store that it fits, by names, shapes and architecture. */
  readonly bases: readonly string[];
  /** Weights that it is for. */
  readonly targets: number;
  /** One, or several where it has a pattern of them. */
  readonly ranks: readonly number[];
  readonly alphas: readonly number[];
  /** What of it is left out, or assumed about it. */
  readonly notes: readonly string[];
  /** Why it cannot be used; `undefined` where it can. */
  readonly refusal: string | undefined;
}

/**
 * Says which models of the store are LoRAs, and which others each of them fits. Reads metadata, and only where there is
 * a LoRA.
 */
export async function lorasOf(store: Store, models: readonly StoredModel[]): Promise<Map<string, LoraInfo>> {
  const infos = new Map<string, LoraInfo>();
  const loras = models.filter(isLora);
  if (loras.length === 0) return infos;
  const bases: LoraBase[] = [];
  for (const model of models) {
    if (!isLora(model)) bases.push(...(await baseOf(store, model)));
  }
  for (const model of loras) infos.set(model.name, await describe(store, model, bases));
  return infos;
}

/**
 * Makes sure that LoRAs fit a GGUF model, before llama.cpp is given anything: native reasons come late or not at all.
 * @throws LinkError naming what does not fit
 */
export async function checkLoraCompatibility(
  store: Store,
  base: string,
  loras: readonly string[],
): Promise<void> {
  if (loras.length === 0) return;
  const models = await Promise.all([base, ...loras].map((name) => readModel(store, name)));
  // The engine says better what it does not run at all.
  if (models.some((model) => model.config.format !== "gguf")) return;
  const [model, ...adapters] = models as [StoredModel, ...StoredModel[]];
  const target = await openBase(store, model);
  for (const adapter of adapters) matchLora(await openLora(store, adapter), target);
}

async function describe(store: Store, model: StoredModel, bases: readonly LoraBase[]): Promise<LoraInfo> {
  let adapter: LoraAdapter;
  try {
    adapter = await openLora(store, model);
  } catch (error) {
    if (!(error instanceof TareError)) throw error;
    return { bases: [], targets: 0, ranks: [], alphas: [], notes: [], refusal: error.message };
  }
  const { pairs, notes } = adapter;
  return {
    bases: bases.filter((base) => fits(adapter, base)).map((base) => base.name),
    targets: pairs.length,
    ranks: [...new Set(pairs.map((pair) => pair.rank))],
    alphas: [...new Set(pairs.map((pair) => pair.alpha))],
    notes,
    refusal: undefined,
  };
}

function fits(adapter: LoraAdapter, base: LoraBase): boolean {
  try {
    matchLora(adapter, base);
    return true;
  } catch (error) {
    if (error instanceof LinkError) return false;
    throw error;
  }
}

/** A model that cannot be read is left to `verify`: it is no base of anything. */
async function baseOf(store: Store, model: StoredModel): Promise<LoraBase[]> {
  try {
    return [await openBase(store, model)];
  } catch (error) {
    if (error instanceof TareError) return [];
    throw error;
  }
}
