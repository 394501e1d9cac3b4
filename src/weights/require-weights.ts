import type { Digest } from "../tensor/digest.ts";
import { sameLayout } from "../tensor/tensor-layout.ts";
import { type HashOptions, hashWeight } from "./hash-weight.ts";
import { type ExpectedWeight, matchWeights } from "./match-weights.ts";
import type { WeightSource } from "./weight-source.ts";

/** Options of {@link requireWeights}. */
export interface RequireOptions extends HashOptions {
  /** Name of the program, for errors. */
  readonly program?: string | undefined;
  /** Also hash weights whose digest the source knows. */
  readonly full?: boolean | undefined;
}

/**
 * Checks that a source has exactly the weights that a program expects, by name, layout and digest. Reads only weights
 * with an expected digest that the source does not know, in chunks.
 * @throws WeightMismatchError with every case; the errors of the source
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
