import { createHash } from "node:crypto";
import type { Digest, DigestStream } from "../tensor/digest.ts";

/** Returns the sha256 of bytes. */
export function sha256(bytes: Uint8Array): Digest {
  return `sha256:${createHash("sha256").update(bytes).digest("hex")}`;
}

/** Starts an incremental sha256. */
export function createSha256(): DigestStream {
  const hash = createHash("sha256");
  return {
    update: (bytes) => void hash.update(bytes),
    digest: () => `sha256:${hash.digest("hex")}`,
  };
}
