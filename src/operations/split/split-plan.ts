import { LinkError } from "../../errors.ts";
import type { Weight } from "../../model/config.ts";
import type { StoredModel } from "../../model/stored-model.ts";
import { weightBytes } from "../../model/sharing.ts";
import { describeRule, ruleSelects, type SplitRule } from "./split-rules.ts";

/** Cases that an error lists; more are counted. */
const MAX_LISTED = 5;

/** Weights of a split, sorted by name. */
export interface PlannedPart {
  readonly weights: readonly Weight[];
  /** In bytes. */
  readonly bytes: number;
}

/** Which weights of some models go where. */
export interface SplitPlan {
  /** What all the models have. */
  readonly foundation: PlannedPart;
  /** What is left of each model, in the order of the models. */
  readonly adapters: readonly PlannedPart[];
  /** Bytes that lie in more than one adapter. */
  readonly repeatedBytes: number;
}

/** Options of {@link planSplit}. */
export interface SplitPlanOptions {
  readonly rules?: readonly SplitRule[] | undefined;
  /** The foundation of an earlier split: what of it still fits stays in it, and nothing joins it. */
  readonly foundation?: readonly Weight[] | undefined;
}

interface Entry {
  readonly weight: Weight;
  /** Every name that it has, in any of the models. */
  readonly names: Set<string>;
  readonly users: Set<number>;
}

/**
 * Plans how models of one format are split: by default along what really differs, so that the foundation is what all
 * have alike; where rules say otherwise, along them (the first that selects a weight counts).
 * @throws LinkError `not-found` for a rule that selects nothing; `mismatch` for a rule that wants something in the
 * foundation that is not the same in all models; `missing-weight` if the foundation would be empty
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
        hint: "tare show MODEL lists the names",
      },
    );
  }
  if (partial.length > 0) {
    throw new LinkError(
      "mismatch",
      `Cannot put into the foundation what the models do not have alike: ${listed(partial)}`,
      {
        tensor: partial[0]?.replace(/ \(.*$/s, ""),
        hint: "a foundation is used whole by every model: narrow the --foundation rule",
      },
    );
  }
  if (foundation.length === 0) {
    throw new LinkError(
      "missing-weight",
      `Cannot split ${namesOf(models)}: nothing is left for the foundation`,
      {
        hint: "the models share no weight, or the rules leave none: tare diff A B shows what differs",
      },
    );
  }
  return {
    foundation: partOf(foundation),
    adapters: adapters.map(partOf),
    repeatedBytes: repeatedIn(adapters, byName),
  };
}

/**
 * What makes two weights one in a split: containers that find weights by name need that to be the same too, and an
 * ONNX program finds them by place.
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

/** In an order that depends on the weights alone: the same weights are the same file, whatever models they come from. */
function partOf(weights: readonly Weight[]): PlannedPart {
  const sorted = [...weights].sort((a, b) => compareNames(a.name, b.name) || (a.digest < b.digest ? -1 : 1));
  return { weights: sorted, bytes: sorted.reduce((sum, weight) => sum + weightBytes(weight), 0) };
}

/** Numbers in names by their value: layer 2 comes before layer 10. Not by a locale: machines differ in theirs. */
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
