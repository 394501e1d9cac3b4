import { LinkError, UsageError } from "../errors.ts";
import { loadTerms } from "../lora/factors.ts";
import { type MergeReport, mergeWeight } from "../lora/merge-weight.ts";
import { isLora } from "../lora/open.ts";
import { type MergeLora, planLoras, type PlanLorasOptions } from "../lora/plan-loras.ts";
import type { PlannedWeight } from "../lora/plan-merge.ts";
import type { Weight } from "../model/config.ts";
import { patchModel, type PatchOptions, type PatchResult, type WeightPatch } from "../store/patch-model.ts";
import { readModel } from "../store/read-model.ts";
import type { Store } from "../store/store.ts";

/** Options of {@link merge}. */
export interface MergeOptions extends PatchOptions, PlanLorasOptions {
  /** Name of the new model. */
  readonly as: string;
}

/** Result of a merge. Sizes in bytes. */
export interface MergeResult extends PatchResult {
  readonly base: string;
  readonly loras: readonly { readonly model: string; readonly scale: number }[];
  /** Number of weights that changed. A weight that several methods use counts once. */
  readonly weights: number;
  /**
   * Largest possible difference between a value of a changed quantized weight and its float32 result, caused by
   * quantizing it again; 0 if no quantized weight changed.
   */
  readonly errorBound: number;
  /** Lines for people: parts of the LoRAs that were left out, and assumptions about them. */
  readonly notes: readonly string[];
}

/**
 * Merges LoRAs into a model of the store, as a new model.
 * @throws UsageError; LinkError for a LoRA that does not match the model; StoreError
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
    throw new LinkError("mismatch", `Cannot merge into "${base}": it is a LoRA`, {
      hint: "List the models that it fits with: tare ls",
    });
  }
  const { planned, notes } = await planLoras(store, model, scaled, options);
  const reports = new Map<Weight, MergeReport>();
  const patches = planned.map((each) => patchOf(store, each, reports));
  const result = await patchModel(store, model, options.as, patches, options);
  const errorBound = Math.max(0, ...[...reports.values()].map((report) => report.errorBound));
  return { ...result, base, loras: scaled, weights: planned.length, errorBound, notes };
}

function checkRequest(base: string, loras: readonly Required<MergeLora>[], as: string): void {
  const refuse = (code: "usage" | "duplicate", reason: string, hint?: string): UsageError =>
    new UsageError(code, `Cannot merge into "${base}": ${reason}`, { hint });
  if (loras.length === 0) throw refuse("usage", "no LoRA is given");
  const seen = new Set<string>();
  for (const { model, scale } of loras) {
    if (model === base) throw refuse("usage", "it is given as its own LoRA");
    if (seen.has(model)) {
      throw refuse("duplicate", `LoRA "${model}" is given twice`, "Give it once, with the sum of its scales");
    }
    if (!Number.isFinite(scale)) throw refuse("usage", `the scale of "${model}" is ${scale}`);
    seen.add(model);
  }
  if (as === base || seen.has(as)) {
    const hint = "Merge under a new name, then remove the models that you no longer need";
    throw refuse("usage", `the result would replace "${as}", which the merge reads`, hint);
  }
}

function patchOf(
  store: Store,
  { weight, uses, terms }: PlannedWeight,
  reports: Map<Weight, MergeReport>,
): WeightPatch {
  return {
    weight,
    uses,
    async *apply(source, options) {
      // A new report for every attempt.
      const report: MergeReport = { touchedBlocks: 0, errorBound: 0 };
      reports.set(weight, report);
      yield* mergeWeight(weight, source, await loadTerms(store, terms, options), report, options);
    },
  };
}
