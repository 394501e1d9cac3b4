import { StoreError } from "../../errors.ts";
import type { Digest, DigestStream } from "../../tensor/digest.ts";
import type { BlobSink } from "../../store/blob-sink.ts";
import { rangeOf, type StreamOptions } from "../../io/stream.ts";

/** Hashes and counts bytes as they pass. */
export class HashedChunks implements AsyncIterable<Uint8Array> {
  readonly #chunks: AsyncIterable<Uint8Array>;
  readonly #hash: DigestStream;
  readonly #check: (size: number, atEnd: boolean) => void;
  #size = 0;
  #over = false;

  /** @param check is told how many bytes passed, after each piece and at the end; what it throws ends the stream */
  constructor(
    chunks: AsyncIterable<Uint8Array>,
    hash: DigestStream,
    check: (size: number, atEnd: boolean) => void,
  ) {
    this.#chunks = chunks;
    this.#hash = hash;
    this.#check = check;
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array, void, undefined> {
    for await (const chunk of this.#chunks) {
      this.#size += chunk.byteLength;
      this.#check(this.#size, false);
      this.#hash.update(chunk);
      yield chunk;
    }
    this.#check(this.#size, true);
    this.#over = true;
  }

  /** What passed, once, when all of it has. */
  result(): { readonly digest: Digest; readonly size: number } {
    if (!this.#over) throw new TypeError("Cannot tell the digest of bytes that were not all taken");
    return { digest: this.#hash.digest(), size: this.#size };
  }
}

/**
 * A blob of a sink, piece by piece; the end comes only if it was what its digest says.
 * @throws StoreError `missing-blob`, `corrupted`
 */
export async function* checkedBlob(
  sink: BlobSink,
  { digest, length }: { readonly digest: Digest; readonly length: number },
  hash: DigestStream,
  options: StreamOptions,
): AsyncGenerator<Uint8Array, void, undefined> {
  await using source = await sink.openBlob(digest);
  const details = { path: source.name, digest };
  if (source.size !== length) {
    const reason = `it has ${source.size} bytes, not ${length}`;
    throw new StoreError("corrupted", `Cannot use blob ${digest}: ${reason}`, details);
  }
  for await (const chunk of rangeOf(source, 0, length, options)) {
    hash.update(chunk);
    yield chunk;
  }
  const found = hash.digest();
  if (found !== digest) {
    throw new StoreError("corrupted", `Cannot use blob ${digest}: its bytes have digest ${found}`, details);
  }
}
