import type { LoraAdapter } from "./adapter.ts";
import { openBase } from "./base.ts";
import type { TermPlan } from "./factors.ts";
import { type LoraFit, type LoraTarget, matchLora } from "./fit.ts";
import type { LoraBase } from "./lora-base.ts";
import { checkMapped, nameMapping } from "./mapping.ts";
import { mergeCodec } from "./merge-weight.ts";
import { openLora } from "./open.ts";
import { type PlannedWeight, planMerge } from "./plan-merge.ts";
import type { Weight } from "../model/config.ts";
import type { StoredModel } from "../model/stored-model.ts";
import type { Store } from "../store/store.ts";
import { readModel } from "../store/read-model.ts";
import { requireModel } from "../store/require-model.ts";

/** A LoRA to merge. */
export interface MergeLora {
  readonly model: string;
  /** Factor of the adapter; 1, the trained strength, unless given. */
  readonly scale?: number | undefined;
}

/** Options of {@link planLoras}. */
export interface PlanLorasOptions {
  /** Names of the LoRAs' modules → names in the base, for names that differ. */
  readonly map?: Readonly<Record<string, string>> | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** The weights that LoRAs change in a model. */
export interface MergePlan {
  readonly planned: readonly PlannedWeight[];
  /** Lines for people: parts of the LoRAs that are left out, and assumptions about them. */
  readonly notes: readonly string[];
}

/**
 * Plans how LoRAs change the weights of a model, and checks that these can be decoded and encoded.
 * @throws LinkError for a LoRA that does not match the model
 */
export async function planLoras(
  store: Store,
  model: StoredModel,
  loras: readonly Required<MergeLora>[],
  options: PlanLorasOptions = {},
): Promise<MergePlan> {
  const target = await openBase(store, model);
  const adapters: LoraAdapter[] = [];
  for (const lora of loras) adapters.push(await openLora(store, await readModel(store, lora.model)));
  const fits = fitAll(target, adapters, options.map ?? {});
  const terms = fits.flatMap(({ targets }, index) => {
    const { model: adapter } = adapters[index] as LoraAdapter;
    const scale = loras[index]?.scale ?? 1;
    return targets.map((each) => termOf(each, adapter, scale));
  });
  const planned = planMerge(model, terms);
  for (const { weight } of planned) mergeCodec(weight);
  for (const each of [model, ...adapters.map((adapter) => adapter.model)]) {
    await requireModel(store, each, { signal: options.signal });
  }
  return { planned, notes: fits.flatMap((fit) => fit.notes) };
}

function fitAll(
  base: LoraBase,
  adapters: readonly LoraAdapter[],
  map: Readonly<Record<string, string>>,
): LoraFit[] {
  const mapping = nameMapping(map, "the merge");
  checkMapped(mapping, adapters);
  return adapters.map((adapter) => matchLora(adapter, base, mapping));
}

function termOf(
  { site, pair, transposed }: LoraTarget,
  adapter: StoredModel,
  scale: number,
): { readonly use: { readonly method: string; readonly weight: Weight }; readonly term: TermPlan } {
  return {
    use: { method: site.method, weight: site.weight },
    term: { adapter, pair, transposed, scale: scale * pair.scaling },
  };
}
