import { LinkError, TareError } from "../errors.ts";
import type { LoraAdapter } from "./adapter.ts";
import { openBase } from "./base.ts";
import type { LoraBase } from "./lora-base.ts";
import { matchLora } from "./fit.ts";
import { isLora, openLora } from "./open.ts";
import type { StoredModel } from "../model/stored-model.ts";
import type { Store } from "../store/store.ts";
import { readModel } from "../store/read-model.ts";

/** A LoRA adapter of the store, and the models that it fits. */
export interface LoraInfo {
  /** Names of the models that match it by names, shapes and architecture. */
  readonly bases: readonly string[];
  /** Number of its target weights. */
  readonly targets: number;
  /** One value, or several if the adapter sets them by module. */
  readonly ranks: readonly number[];
  readonly alphas: readonly number[];
  /** Notes for people: parts that are left out, and assumptions. */
  readonly notes: readonly string[];
  /** Why it cannot be used; `undefined` if it can. */
  readonly refusal: string | undefined;
}

/**
 * Finds the LoRAs of the store, and the models that each of them fits. Reads only metadata, and only if the store has a
 * LoRA.
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
 * Checks that LoRAs match a GGUF model, before the load: llama.cpp reports a mismatch late or without a reason.
 * @throws LinkError with the weight that does not match
 */
export async function checkLoraCompatibility(
  store: Store,
  base: string,
  loras: readonly string[],
): Promise<void> {
  if (loras.length === 0) return;
  const models = await Promise.all([base, ...loras].map((name) => readModel(store, name)));
  // The engine has a better error for models that it does not run.
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

/** Opens a base; `undefined` if the model cannot be read, which `verify` reports. */
async function baseOf(store: Store, model: StoredModel): Promise<LoraBase[]> {
  try {
    return [await openBase(store, model)];
  } catch (error) {
    if (error instanceof TareError) return [];
    throw error;
  }
}
