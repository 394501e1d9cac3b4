import { LinkError } from "../../errors.ts";
import type { Weight } from "../../model/config.ts";
import type { StoredModel } from "../../model/stored-model.ts";
import { weightBytes } from "../../model/sharing.ts";
import { describeRule, ruleSelects, type SplitRule } from "./split-rules.ts";

/** Number of cases that an error lists; it counts the others. */
const MAX_LISTED = 5;

/** Weights of a split, sorted by name. */
export interface PlannedPart {
  readonly weights: readonly Weight[];
  /** Size in bytes. */
  readonly bytes: number;
}

/** The distribution of weights over the foundation and the adapters. */
export interface SplitPlan {
  /** Weights that all models have. */
  readonly foundation: PlannedPart;
  /** The other weights of each model, in the order of the models. */
  readonly adapters: readonly PlannedPart[];
  /** Size in bytes of the repeated copies of weights that several adapters have. */
  readonly repeatedBytes: number;
}

/** Options of {@link planSplit}. */
export interface SplitPlanOptions {
  readonly rules?: readonly SplitRule[] | undefined;
  /** The foundation of an earlier split: weights that all models still have stay in it, and no weight is added. */
  readonly foundation?: readonly Weight[] | undefined;
}

interface Entry {
  readonly weight: Weight;
  /** All names of the weight in the models. */
  readonly names: Set<string>;
  readonly users: Set<number>;
}

/**
 * Plans a split of models of one format. By default, weights that all models share are in the foundation, and other
 * weights are in the adapters. Rules take precedence; the first rule that matches a weight applies.
 * @throws LinkError `not-found` for a rule that matches no weight; `mismatch` for a rule that puts a weight into the
 * foundation that differs between models; `missing-weight` if the foundation would be empty
 */
export function planSplit(models: readonly StoredModel[], options: SplitPlanOptions = {}): SplitPlan {
  const { rules = [] } = options;
  const byName = models[0]?.config.format !== "onnx";
  const entries = entriesOf(models, byName);
  const old = options.foundation && new Set(options.foundation.map((weight) => keyOf(weight, byName)));
  const used = new Set<SplitRule>();
  const partial: string[] = [];
  const foundation: Weight[] = [];
  const adapters = models.map((): Weight[] => []);
  for (const [key, { weight, names, users }] of entries) {
    const chosen = rules.filter((rule) => [...names].some((name) => ruleSelects(rule, name)));
    for (const each of chosen) used.add(each);
    const everywhere = users.size === models.length;
    const wanted = chosen[0]?.part ?? (everywhere && (old?.has(key) ?? true) ? "foundation" : "adapter");
    if (wanted === "foundation" && !everywhere)
      partial.push(`${weight.name} (${namesOf(models, users)} only)`);
    if (wanted === "foundation") foundation.push(weight);
    else for (const user of users) adapters[user]?.push(weight);
  }
  const idle = rules.find((rule) => !used.has(rule));
  if (idle) {
    throw new LinkError(
      "not-found",
      `Cannot split by ${describeRule(idle)}: it selects no weight of ${namesOf(models)}`,
      {
        hint: "List the names with: tare show MODEL",
      },
    );
  }
  if (partial.length > 0) {
    throw new LinkError(
      "mismatch",
      `Cannot put weights into the foundation that differ between models: ${listed(partial)}`,
      {
        tensor: partial[0]?.replace(/ \(.*$/s, ""),
        hint: "Narrow the --foundation rule: every model uses all weights of the foundation",
      },
    );
  }
  if (foundation.length === 0) {
    throw new LinkError("missing-weight", `Cannot split ${namesOf(models)}: the foundation would be empty`, {
      hint: "Compare the models with tare diff A B: they share no weight, or the rules select all shared weights",
    });
  }
  return {
    foundation: partOf(foundation),
    adapters: adapters.map(partOf),
    repeatedBytes: repeatedIn(adapters, byName),
  };
}

/**
 * Identifies a weight in a split. In formats that find weights by name, equal weights must also have equal names; an
 * ONNX program finds weights by offset.
 */
function keyOf({ name, dtype, shape, digest }: Weight, byName: boolean): string {
  return byName ? JSON.stringify([name, dtype, shape, digest]) : digest;
}

function entriesOf(models: readonly StoredModel[], byName: boolean): Map<string, Entry> {
  const entries = new Map<string, Entry>();
  models.forEach(({ config }, user) => {
    for (const weight of config.methods.flatMap((method) => method.weights)) {
      const key = keyOf(weight, byName);
      const entry = entries.get(key) ?? { weight, names: new Set(), users: new Set() };
      entry.names.add(weight.name);
      entry.users.add(user);
      entries.set(key, entry);
    }
  });
  return entries;
}

/** Sorts weights in an order that depends only on the weights, so that equal sets of weights make equal files. */
function partOf(weights: readonly Weight[]): PlannedPart {
  const sorted = [...weights].sort((a, b) => compareNames(a.name, b.name) || (a.digest < b.digest ? -1 : 1));
  return { weights: sorted, bytes: sorted.reduce((sum, weight) => sum + weightBytes(weight), 0) };
}

/** Compares names with numbers by value: layer 2 comes before layer 10. Uses no locale, since machines differ in it. */
function compareNames(a: string, b: string): number {
  const [left, right] = [a, b].map((name) =>
    name.replaceAll(/\d{1,15}/g, (digits) => digits.padStart(15, "0")),
  );
  if (left === right) return a < b ? -1 : Number(a > b);
  return (left as string) < (right as string) ? -1 : 1;
}

function repeatedIn(adapters: readonly (readonly Weight[])[], byName: boolean): number {
  const seen = new Set<string>();
  let bytes = 0;
  for (const weight of adapters.flat()) {
    const key = keyOf(weight, byName);
    if (seen.has(key)) bytes += weightBytes(weight);
    seen.add(key);
  }
  return bytes;
}

function namesOf(models: readonly StoredModel[], users?: ReadonlySet<number>): string {
  return models
    .filter((_, index) => users?.has(index) ?? true)
    .map((model) => model.name)
    .join(", ");
}

function listed(cases: readonly string[]): string {
  const more = cases.length - MAX_LISTED;
  return `${cases.slice(0, MAX_LISTED).join(", ")}${more > 0 ? ` and ${more} more` : ""}`;
}
