import { StoreError } from "../errors.ts";
import type { Digest } from "../tensor/digest.ts";

/** Makes the error for staged bytes that do not have the digest that they are committed under. */
export function stagedMismatch(path: string, expected: Digest, found: Digest): StoreError {
  return new StoreError("corrupted", `Cannot store blob ${expected}: its bytes have digest ${found}`, {
    path,
    digest: expected,
    offset: 0,
  });
}
