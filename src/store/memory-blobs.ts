import { StoreError } from "../errors.ts";
import { memorySource } from "../io/byte-source.ts";
import type { CreateDigest, Digest } from "../tensor/digest.ts";
import { missingBlob } from "./read-blob.ts";
import { stagedMismatch } from "./staged-mismatch.ts";
import type { Blobs, StagedBlob } from "./store.ts";

/** Options of {@link memoryBlobs}. */
export interface MemoryBlobsOptions {
  readonly createDigest: CreateDigest;
  /** Finds the digests of blobs in use, which {@link Lease.discard} keeps; none unless given. */
  readonly findNeeded?: () => Promise<ReadonlySet<Digest>>;
}

/** Makes a store of blobs in memory. It copies the bytes that it stages. */
export function memoryBlobs({ createDigest, findNeeded }: MemoryBlobsOptions): Blobs {
  const blobs = new Map<Digest, Uint8Array>();
  return {
    async has({ digest, size }, { signal } = {}) {
      signal?.throwIfAborted();
      return blobs.get(digest)?.byteLength === size;
    },
    async open(digest) {
      const bytes = blobs.get(digest);
      if (!bytes) throw missingBlob(`blob ${digest}`, { path: "memory", digest });
      return { ...memorySource(bytes, digest), [Symbol.asyncDispose]: async () => {} };
    },
    async stage(chunks, { signal } = {}) {
      const pieces: Uint8Array[] = [];
      const hash = createDigest();
      for await (const chunk of chunks) {
        signal?.throwIfAborted();
        hash.update(chunk);
        pieces.push(chunk.slice());
      }
      signal?.throwIfAborted();
      return stagedBlob(blobs, pieces, hash.digest());
    },
    async lease() {
      return {
        async sync() {},
        async discard(digests) {
          const needed = await findNeeded?.();
          for (const digest of digests) if (!needed?.has(digest)) blobs.delete(digest);
        },
        async [Symbol.asyncDispose]() {},
      };
    },
  };
}

function stagedBlob(blobs: Map<Digest, Uint8Array>, pieces: Uint8Array[], digest: Digest): StagedBlob {
  const size = pieces.reduce((sum, piece) => sum + piece.byteLength, 0);
  let disposed = false;
  return {
    digest,
    size,
    async commit(expected) {
      if (expected !== digest) throw stagedMismatch("memory", expected, digest);
      if (blobs.has(digest)) return false;
      if (disposed)
        throw new StoreError("released", `Cannot commit blob ${digest}: its staged bytes were disposed`, {
          digest,
        });
      blobs.set(digest, joined(pieces));
      return true;
    },
    async [Symbol.asyncDispose]() {
      disposed = true;
      pieces.length = 0;
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
