import { LinkError, UsageError } from "../errors.ts";
import type { LoraAdapter } from "../lora/adapter.ts";
import { openBase } from "../lora/base.ts";
import type { LoraBase } from "../lora/lora-base.ts";
import { loadTerms, type TermPlan } from "../lora/factors.ts";
import { type LoraFit, type LoraTarget, matchLora } from "../lora/fit.ts";
import { checkMapped, nameMapping } from "../lora/mapping.ts";
import { mergeCodec, type MergeReport, mergeWeight } from "../lora/merge-weight.ts";
import { isLora, openLora } from "../lora/open.ts";
import type { Weight } from "../model/config.ts";
import type { StoredModel } from "../model/stored-model.ts";
import { type PlannedWeight, planMerge } from "../lora/plan-merge.ts";
import { patchModel, type PatchOptions, type PatchResult, type WeightPatch } from "../store/patch-model.ts";
import type { Store } from "../store/store.ts";
import { readModel } from "../store/read-model.ts";
import { requireModel } from "../store/require-model.ts";

/** A LoRA to merge. */
export interface MergeLora {
  readonly model: string;
  /** How much of it: 1, as it was trained, unless given. */
  readonly scale?: number | undefined;
}

/** Options of `TareStore.merge`. */
export interface MergeOptions extends PatchOptions {
  /** The new model's name. */
  readonly as: string;
  /** What modules of the LoRAs are called in the base, where the names differ. */
  readonly map?: Readonly<Record<string, string>> | undefined;
}

/** What a merge did. Sizes in bytes. */
export interface MergeResult extends PatchResult {
  readonly base: string;
  readonly loras: readonly { readonly model: string; readonly scale: number }[];
  /** Weights that were merged into, each counted once however many methods use it. */
  readonly weights: number;
  /**
   * The most by which a value of a quantized weight may be off from what it would be in float32, because it was
   * quantized again; 0 where no such weight was merged into.
   */
  readonly errorBound: number;
  /** What of the LoRAs was left out, or assumed about them, as lines for people. */
  readonly notes: readonly string[];
}

/** What LoRAs make of a model. */
export interface MergePlan {
  readonly planned: readonly PlannedWeight[];
  /** What is left out, or assumed, as lines for people. */
  readonly notes: readonly string[];
}

/**
 * Merges LoRAs into a model of the store, as a new one.
 * @throws UsageError, LinkError where a LoRA does not fit; StoreError
 */
export async function merge(
  store: Store,
  base: string,
  loras: readonly MergeLora[],
  options: MergeOptions,
): Promise<MergeResult> {
  const scaled = loras.map(({ model, scale = 1 }) => ({ model, scale }));
  checkRequest(base, scaled, options.as);
  const model = await readModel(store, base);
  if (isLora(model)) {
    throw new LinkError("mismatch", `Cannot merge into "${base}": it is a LoRA itself`, {
      hint: "tare ls says which models it fits",
    });
  }
  const { planned, notes } = await planLoras(store, model, scaled, options);
  const reports = new Map<Weight, MergeReport>();
  const derivations = planned.map((each) => derivationOf(store, each, reports));
  const result = await patchModel(store, model, options.as, derivations, options);
  const errorBound = Math.max(0, ...[...reports.values()].map((report) => report.errorBound));
  return { ...result, base, loras: scaled, weights: planned.length, errorBound, notes };
}

/**
 * Plans what LoRAs make of a model's weights, and makes sure that all of it can be read and written.
 * @throws LinkError where a LoRA does not fit
 */
export async function planLoras(
  store: Store,
  model: StoredModel,
  loras: readonly Required<MergeLora>[],
  options: Pick<MergeOptions, "map" | "signal"> = {},
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

function checkRequest(base: string, loras: readonly Required<MergeLora>[], as: string): void {
  const refuse = (code: "usage" | "duplicate", reason: string, hint?: string): UsageError =>
    new UsageError(code, `Cannot merge into "${base}": ${reason}`, { hint });
  if (loras.length === 0) throw refuse("usage", "no LoRA is named");
  const seen = new Set<string>();
  for (const { model, scale } of loras) {
    if (model === base) throw refuse("usage", "it is named as its own LoRA");
    if (seen.has(model)) {
      throw refuse("duplicate", `LoRA "${model}" is named twice`, "name it once, with the sum of its scales");
    }
    if (!Number.isFinite(scale)) throw refuse("usage", `the scale of "${model}" is ${scale}`);
    seen.add(model);
  }
  if (as === base || seen.has(as)) {
    const hint = "merge under a new name, then remove what is not needed any more";
    throw refuse("usage", `the result would take the name of "${as}", which it is made of`, hint);
  }
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

function derivationOf(
  store: Store,
  { weight, uses, terms }: PlannedWeight,
  reports: Map<Weight, MergeReport>,
): WeightPatch {
  return {
    weight,
    uses,
    async *apply(source, options) {
      // Begun anew with every attempt.
      const report: MergeReport = { touchedBlocks: 0, errorBound: 0 };
      reports.set(weight, report);
      yield* mergeWeight(weight, source, await loadTerms(store, terms, options), report, options);
    },
  };
}
