import type { ReadOptions } from "../io/byte-source.ts";
import type { CreateDigest, Digest } from "../tensor/digest.ts";
import { streamWeight } from "./stream-weight.ts";
import type { WeightSource } from "./weight-source.ts";

/** Options of functions that hash weights. */
export interface HashOptions extends ReadOptions {
  readonly createDigest: CreateDigest;
}

/** Hashes a weight, which it reads in chunks. */
export async function hashWeight(
  source: WeightSource,
  key: string,
  { createDigest, signal }: HashOptions,
): Promise<Digest> {
  const hash = createDigest();
  for await (const chunk of streamWeight(source, key, { signal, reuse: true })) hash.update(chunk);
  return hash.digest();
}
