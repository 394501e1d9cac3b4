import type { Weight } from "./config.ts";
import type { Digest } from "../tensor/digest.ts";
import { tensorBytes } from "../tensor/dtype.ts";
import { modelWeights, type StoredModel } from "./stored-model.ts";

/** Returns the names of the models that use each weight. */
export function usersOf(models: readonly StoredModel[]): Map<Digest, string[]> {
  const users = new Map<Digest, string[]>();
  for (const model of models) {
    for (const digest of new Set(modelWeights(model.config).map((weight) => weight.digest))) {
      users.set(digest, [...(users.get(digest) ?? []), model.name]);
    }
  }
  return users;
}

/** Returns the size of a weight's tensor in bytes. */
export function weightBytes(weight: Weight): number {
  return tensorBytes(weight.dtype, weight.shape) ?? 0;
}

/** Sizes of a model's weights in bytes; a weight that several methods use counts once. */
export interface Shares {
  readonly weightBytes: number;
  /** Weights that other models use too. */
  readonly sharedBytes: number;
  /** Weights that no other model uses. */
  readonly ownBytes: number;
}

/** Adds up the weights that a model shares with others, and those that it does not share. */
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
