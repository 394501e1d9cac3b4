import { createHash } from "node:crypto";
import type { Digest } from "../model/digest.ts";

/** Digest of bytes that are in memory. */
export function sha256(bytes: Uint8Array): Digest {
  return `sha256:${createHash("sha256").update(bytes).digest("hex")}`;
}
