import type { Weight } from "./config.ts";
import type { Digest } from "../tensor/digest.ts";
import { tensorBytes } from "../tensor/dtype.ts";
import { modelWeights, type StoredModel } from "./stored-model.ts";

/** Which models use each weight. */
export function usersOf(models: readonly StoredModel[]): Map<Digest, string[]> {
  const users = new Map<Digest, string[]>();
  for (const model of models) {
    for (const digest of new Set(modelWeights(model.config).map((weight) => weight.digest))) {
      users.set(digest, [...(users.get(digest) ?? []), model.name]);
    }
  }
  return users;
}

/** Bytes of a weight's tensor. */
export function weightBytes(weight: Weight): number {
  return tensorBytes(weight.dtype, weight.shape) ?? 0;
}

/** A model's weights, each counted once however many methods use it. All sizes in bytes. */
export interface Shares {
  readonly weightBytes: number;
  /** Used by other models too. */
  readonly sharedBytes: number;
  readonly ownBytes: number;
}

/** Adds up what of a model is shared with others and what is its own. */
export function sharesOf(model: StoredModel, users: ReadonlyMap<Digest, readonly string[]>): Shares {
  let shared = 0;
  let own = 0;
  const once = new Map(modelWeights(model.config).map((weight) => [weight.digest, weight]));
  for (const weight of once.values()) {
    if ((users.get(weight.digest)?.length ?? 0) > 1) shared += weightBytes(weight);
    else own += weightBytes(weight);
  }
  return { weightBytes: shared + own, sharedBytes: shared, ownBytes: own };
}
