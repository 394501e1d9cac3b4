import { createHash } from "node:crypto";
import type { Digest, DigestStream } from "../tensor/digest.ts";

/** Digest of bytes that are in memory. */
export function sha256(bytes: Uint8Array): Digest {
  return `sha256:${createHash("sha256").update(bytes).digest("hex")}`;
}

/** Starts a sha256 of bytes that pass. */
export function createSha256(): DigestStream {
  const hash = createHash("sha256");
  return {
    update: (bytes) => void hash.update(bytes),
    digest: () => `sha256:${hash.digest("hex")}`,
  };
}
