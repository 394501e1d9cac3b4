import type { ReadOptions } from "../io/byte-source.ts";
import type { CreateDigest, Digest } from "../tensor/digest.ts";
import { streamWeight } from "./stream-weight.ts";
import type { WeightSource } from "./weight-source.ts";

/** Options of what may have to hash weights. */
export interface HashOptions extends ReadOptions {
  readonly createDigest: CreateDigest;
}

/** The digest of a weight's bytes as they are now, read piece by piece. */
export async function hashWeight(
  source: WeightSource,
  key: string,
  { createDigest, signal }: HashOptions,
): Promise<Digest> {
  const hash = createDigest();
  for await (const chunk of streamWeight(source, key, { signal, reuse: true })) hash.update(chunk);
  return hash.digest();
}
