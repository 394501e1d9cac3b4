import { memorySource } from "../io/byte-source.ts";
import { StoreError } from "../errors.ts";
import type { Digest } from "../tensor/digest.ts";
import type { BlobSink } from "./blob-sink.ts";

/** Keeps blobs in memory, in copies of its own. */
export function memorySink(): BlobSink {
  const blobs = new Map<Digest, Uint8Array>();
  return {
    async stage(chunks) {
      const pieces: Uint8Array[] = [];
      for await (const chunk of chunks) pieces.push(chunk.slice());
      return {
        async commit(digest) {
          if (!blobs.has(digest)) blobs.set(digest, joined(pieces));
        },
        async [Symbol.asyncDispose]() {
          pieces.length = 0;
        },
      };
    },
    async openBlob(digest) {
      const bytes = blobs.get(digest);
      if (!bytes) throw new StoreError("missing-blob", `Cannot find blob ${digest} in memory`, { digest });
      return { ...memorySource(bytes, digest), [Symbol.asyncDispose]: async () => {} };
    },
  };
}

function joined(pieces: readonly Uint8Array[]): Uint8Array {
  const [only] = pieces;
  if (only && pieces.length === 1) return only;
  const bytes = new Uint8Array(pieces.reduce((sum, piece) => sum + piece.byteLength, 0));
  let filled = 0;
  for (const piece of pieces) {
    bytes.set(piece, filled);
    filled += piece.byteLength;
  }
  return bytes;
}
