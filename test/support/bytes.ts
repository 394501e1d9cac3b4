import { createHash } from "node:crypto";
import type { Digest } from "../../src/tensor/digest.ts";

/** Bytes that count up from a start: told apart by it. */
export function counting(length: number, start = 0): Uint8Array {
  return Uint8Array.from({ length }, (_, index) => (start + index * 7) % 251);
}

/** All pieces of a stream, joined. */
export async function joined(chunks: AsyncIterable<Uint8Array> | Iterable<Uint8Array>): Promise<Uint8Array> {
  const pieces: Uint8Array[] = [];
  for await (const chunk of chunks) pieces.push(chunk.slice());
  return new Uint8Array(Buffer.concat(pieces));
}

/** Node's own sha256, spelled as digests are. */
export function digestOf(bytes: Uint8Array): Digest {
  return `sha256:${createHash("sha256").update(bytes).digest("hex")}`;
}

/** A stream of bytes in pieces. */
export async function* pieces(bytes: Uint8Array, length: number): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.byteLength; at += length) yield bytes.subarray(at, at + length);
}
