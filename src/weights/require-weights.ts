import type { Digest } from "../tensor/digest.ts";
import { sameLayout } from "../tensor/tensor-layout.ts";
import { type HashOptions, hashWeight } from "./hash-weight.ts";
import { type ExpectedWeight, matchWeights } from "./match-weights.ts";
import type { WeightSource } from "./weight-source.ts";

/** Options of {@link requireWeights}. */
export interface RequireOptions extends HashOptions {
  /** How errors name what expects the weights. */
  readonly program?: string | undefined;
  /** Hash also what the source gives a digest for. */
  readonly full?: boolean | undefined;
}

/**
 * Makes sure, before anything runs, that a source is what a program expects: every weight by name, layout and digest,
 * and no other. Only weights whose digest is expected and not known are read, piece by piece.
 * @throws WeightMismatchError with every case; what reading the source throws
 */
export async function requireWeights(
  expected: Iterable<ExpectedWeight>,
  source: WeightSource,
  { program, full = false, ...options }: RequireOptions,
): Promise<void> {
  const weights = [...expected];
  const digests = new Map<string, Digest>();
  for (const weight of weights) {
    const { name } = weight;
    const layout = source.layout(name);
    if (!layout || !weight.digest || !sameLayout(weight, layout)) continue;
    if (full || !layout.digest) digests.set(name, await hashWeight(source, name, options));
  }
  const hashed = (key: string): ReturnType<WeightSource["layout"]> => {
    const layout = source.layout(key);
    return layout && { ...layout, digest: digests.get(key) ?? layout.digest };
  };
  matchWeights(weights, { name: source.name, keys: () => source.keys(), layout: hashed }, { program });
}
