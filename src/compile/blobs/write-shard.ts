import { zeros } from "../../io/align.ts";
import type { CreateDigest } from "../../tensor/digest.ts";
import { checkedBlob } from "./checked-chunks.ts";
import type { StreamOptions } from "../../io/stream.ts";
import type { ShardFile } from "./shard-plan.ts";
import type { BlobSink } from "../../store/store.ts";

/** Streams the blobs of a data file, and checks each against its digest. */
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
