import type { CreateDigest } from "../../model/digest.ts";
import type { BlobSink } from "../../store/blob-sink.ts";
import { checkedBlob } from "./checked-chunks.ts";
import type { StreamOptions } from "../chunks.ts";
import type { ShardFile } from "./shard-plan.ts";

/** Zeros between blobs pass in pieces of this: an alignment may be large. */
const LONGEST_PADDING = 64 * 1024;

/** The bytes of a data file, blob after blob, each checked against its digest. */
export async function* writeShardFile(
  sink: BlobSink,
  file: Pick<ShardFile, "blobs" | "size">,
  createDigest: CreateDigest,
  options: StreamOptions,
): AsyncGenerator<Uint8Array, void, undefined> {
  let at = 0;
  for (const blob of file.blobs) {
    yield* zeros(blob.offset - at);
    yield* checkedBlob(sink, blob, createDigest(), options);
    at = blob.offset + blob.length;
  }
  yield* zeros(file.size - at);
}

function* zeros(count: number): Generator<Uint8Array, void, undefined> {
  if (!Number.isSafeInteger(count) || count < 0) {
    throw new RangeError("Cannot write a data file whose blobs overlap, or leave it");
  }
  for (let left = count; left > 0; left -= LONGEST_PADDING) {
    yield new Uint8Array(Math.min(left, LONGEST_PADDING));
  }
}
