import { hashWeight } from "../weights/hash-weight.ts";
import { streamWeight } from "../weights/stream-weight.ts";
import { StoreError } from "../errors.ts";
import type { Digest } from "../tensor/digest.ts";
import { createSha256 } from "../node/sha256.ts";
import type { BoundParts, WeightBinding } from "./bound-parts.ts";

/**
 * Checks the digest of a weight, if it is known. Skips blobs, which the store checked when it wrote them.
 * @throws StoreError `corrupted`
 */
export async function requireDigest(
  { data }: Pick<BoundParts, "data">,
  { name, digest, storage }: WeightBinding,
  signal: AbortSignal | undefined,
): Promise<void> {
  if (digest === undefined || storage.kind === "blob") return;
  const found = await hashWeight(data, name, { createDigest: createSha256, signal });
  if (found !== digest) throw otherBytes(data.name, name, digest, found);
}

/**
 * Streams the bytes of a weight in reused memory, and checks their digest after the last chunk.
 * @throws StoreError `corrupted`; LinkError `size-mismatch`
 */
export async function* checkedWeight(
  { data }: Pick<BoundParts, "data">,
  { name, digest }: WeightBinding,
  signal: AbortSignal | undefined,
): AsyncGenerator<Uint8Array> {
  const hash = digest === undefined ? undefined : createSha256();
  for await (const chunk of streamWeight(data, name, { signal, reuse: true })) {
    hash?.update(chunk);
    yield chunk;
  }
  const found = hash?.digest();
  if (digest !== undefined && found !== undefined && found !== digest)
    throw otherBytes(data.name, name, digest, found);
}

function otherBytes(path: string, tensor: string, digest: Digest, found: Digest): StoreError {
  return new StoreError(
    "corrupted",
    `Cannot use weight "${tensor}" of "${path}": its bytes have digest ${found}`,
    {
      path,
      tensor,
      digest,
      offset: 0,
      hint: "Give the weights that the program was linked to",
    },
  );
}
