import { LinkError } from "../errors.ts";
import { type Alias, aliasedWeights } from "./aliased.ts";
import { draftWeights, type ModelDataOptions } from "./draft.ts";
import type { OpenedRef } from "./opened-ref.ts";
import { storedWeights } from "./stored.ts";
import type { WeightLayout, WeightSource } from "./weight-source.ts";

/** Lists the methods of an opened reference; none for weights that belong to no program. */
export function refMethods(opened: OpenedRef): string[] {
  if (opened.kind === "weights") return [];
  const { methods } = opened.kind === "model" ? opened.model.config : opened.draft;
  return methods.map((method) => method.name);
}

/**
 * Makes a source of the weights of one method of an opened reference.
 * @throws LinkError `not-found` for an unknown method, or if no method is named and there are several
 */
export function refWeights(opened: OpenedRef, options: Omit<ModelDataOptions, "name"> = {}): WeightSource {
  if (opened.kind === "weights") return opened.source;
  if (opened.kind === "model") return storedWeights(opened.store, opened.model, options);
  return draftWeights(opened.draft, options);
}

/**
 * Makes a source of the weights of all methods of an opened reference.
 * @param only keys to include; all unless given
 * @throws LinkError `duplicate` if two methods have different weights of one name
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

/** Throws if two methods have a weight of one name, unless the weights are equal: the name would be ambiguous. */
function refuseAnother(
  known: WeightLayout | undefined,
  { digest }: WeightLayout,
  path: string,
  tensor: string,
): void {
  if (!known || (digest !== undefined && digest === known.digest)) return;
  throw new LinkError("duplicate", `Cannot use the weights of "${path}": it has two weights "${tensor}"`, {
    path,
    tensor,
  });
}
