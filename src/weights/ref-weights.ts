import { LinkError } from "../errors.ts";
import { type Alias, aliasedWeights } from "./aliased.ts";
import { draftWeights, type ModelDataOptions } from "./draft.ts";
import type { OpenedRef } from "./opened-ref.ts";
import { storedWeights } from "./stored.ts";
import type { WeightLayout, WeightSource } from "./weight-source.ts";

/** Names of the methods of what a reference leads to; none for weights that belong to no program. */
export function refMethods(opened: OpenedRef): string[] {
  if (opened.kind === "weights") return [];
  const { methods } = opened.kind === "model" ? opened.model.config : opened.draft;
  return methods.map((method) => method.name);
}

/**
 * The weights of one method of what a reference leads to.
 * @throws LinkError `not-found` for a method that is not there, or is not named where there are several
 */
export function refWeights(opened: OpenedRef, options: Omit<ModelDataOptions, "name"> = {}): WeightSource {
  if (opened.kind === "weights") return opened.source;
  if (opened.kind === "model") return storedWeights(opened.store, opened.model, options);
  return draftWeights(opened.draft, options);
}

/**
 * The weights of all methods of what a reference leads to.
 * @param only these, if given
 * @throws LinkError `duplicate` where two methods have different weights of one name
 */
export function allRefWeights(opened: OpenedRef, only?: readonly string[]): WeightSource {
  if (opened.kind === "weights" && !only) return opened.source;
  const methods = opened.kind === "weights" ? [undefined] : refMethods(opened);
  const table = new Map<string, Alias>();
  for (const method of methods) {
    const owner = refWeights(opened, { method, constants: false });
    for (const key of only ?? owner.keys()) {
      const layout = owner.layout(key);
      if (!layout) continue;
      refuseAnother(table.get(key)?.layout, layout, opened.name, key);
      table.set(key, { owner, key, layout });
    }
  }
  return aliasedWeights(opened.name, table);
}

/** Methods may have weights of one name: which is meant is clear only if they are the same. */
function refuseAnother(
  known: WeightLayout | undefined,
  { digest }: WeightLayout,
  path: string,
  tensor: string,
): void {
  if (!known || (digest !== undefined && digest === known.digest)) return;
  throw new LinkError("duplicate", `Cannot use the weights of "${path}": it has two "${tensor}"`, {
    path,
    tensor,
  });
}
