import { StoreError } from "../errors.ts";
import type { Digest } from "../tensor/digest.ts";
import type { HashOptions } from "./hash-weight.ts";
import { streamWeight } from "./stream-weight.ts";
import type { WeightSource } from "./weight-source.ts";

/** Options of {@link checkedWeight}. */
export interface CheckedOptions extends HashOptions {
  /** Expected digest; `undefined` to check nothing. */
  readonly digest: Digest | undefined;
  /** Hint of the error. */
  readonly hint: string;
}

/**
 * Streams the bytes of a weight in reused memory, and checks their digest after the last chunk.
 * @throws StoreError `corrupted`; LinkError `missing-weight`; SourceError `source-changed`
 */
export async function* checkedWeight(
  source: WeightSource,
  key: string,
  { digest, createDigest, signal, hint }: CheckedOptions,
): AsyncGenerator<Uint8Array, void, undefined> {
  const hash = digest === undefined ? undefined : createDigest();
  for await (const chunk of streamWeight(source, key, { signal, reuse: true })) {
    hash?.update(chunk);
    yield chunk;
  }
  const found = hash?.digest();
  if (found === digest) return;
  const path = source.name;
  throw new StoreError(
    "corrupted",
    `Cannot use weight "${key}" of "${path}": its bytes have digest ${found}`,
    {
      path,
      tensor: key,
      digest,
      offset: 0,
      hint,
    },
  );
}
