import { StoreError } from "../errors.ts";
import type { Digest } from "../tensor/digest.ts";

/** The error for staged bytes that are to be committed under a digest that is not theirs. */
export function stagedMismatch(path: string, expected: Digest, found: Digest): StoreError {
  return new StoreError("corrupted", `Cannot store blob ${expected}: its bytes have digest ${found}`, {
    path,
    digest: expected,
    offset: 0,
  });
}
