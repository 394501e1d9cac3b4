import { StoreError } from "../../errors.ts";
import type { Digest, DigestStream } from "../../tensor/digest.ts";
import { rangeOf, type StreamOptions } from "../../io/stream.ts";
import type { BlobSink } from "../../store/store.ts";

/**
 * Passes chunks on, and counts their bytes.
 * @param check receives the number of bytes after each chunk and at the end; an error that it throws ends the stream
 */
export async function* countedChunks(
  chunks: AsyncIterable<Uint8Array>,
  check: (size: number, atEnd: boolean) => void,
): AsyncGenerator<Uint8Array, void, undefined> {
  let size = 0;
  for await (const chunk of chunks) {
    size += chunk.byteLength;
    check(size, false);
    yield chunk;
  }
  check(size, true);
}

/**
 * Streams a blob of a sink, and checks its digest before the stream ends.
 * @throws StoreError `missing-blob`, `corrupted`
 */
export async function* checkedBlob(
  sink: BlobSink,
  { digest, length }: { readonly digest: Digest; readonly length: number },
  hash: DigestStream,
  options: StreamOptions,
): AsyncGenerator<Uint8Array, void, undefined> {
  await using source = await sink.open(digest);
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
