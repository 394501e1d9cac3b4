import { checkedWeight } from "../weights/checked-weight.ts";
import { createSha256 } from "../node/sha256.ts";
import type { BoundParts, WeightBinding } from "./bound-parts.ts";

/**
 * Checks the digest of a weight, if it is known. Skips blobs, which the store checked when it wrote them.
 * @throws StoreError `corrupted`
 */
export async function requireDigest(
  parts: Pick<BoundParts, "data">,
  binding: WeightBinding,
  signal: AbortSignal | undefined,
): Promise<void> {
  if (binding.digest === undefined || binding.storage.kind === "blob") return;
  for await (const _ of boundBytes(parts, binding, signal));
}

/**
 * Streams the bytes of a bound weight in reused memory, and checks their digest, if it is known, after the last chunk.
 * @throws StoreError `corrupted`; LinkError `size-mismatch`
 */
export function boundBytes(
  { data }: Pick<BoundParts, "data">,
  { name, digest }: WeightBinding,
  signal: AbortSignal | undefined,
): AsyncGenerator<Uint8Array, void, undefined> {
  const hint = "Give the weights that the program was linked to";
  return checkedWeight(data, name, { digest, createDigest: createSha256, signal, hint });
}
