import { zeros } from "../../io/align.ts";
import { streamWeight } from "../../weights/stream-weight.ts";
import type { WeightSource } from "../../weights/weight-source.ts";
import type { FileLayout } from "../../formats/lay-out.ts";
import type { FileChunk } from "../../node/write-chunks.ts";

/** Options of {@link chunksOf}. */
export interface ChunkOptions {
  readonly signal?: AbortSignal | undefined;
  /** Called with the size of each chunk after the consumer took it. */
  readonly onBytes: (bytes: number) => void;
}

/**
 * Streams the bytes of a file in order, with zeros in place of late pieces; then the late pieces, which contain
 * checksums of the bytes before, with their offsets.
 */
export async function* chunksOf(
  data: WeightSource,
  layout: FileLayout,
  { signal, onBytes }: ChunkOptions,
): AsyncGenerator<FileChunk> {
  for await (const chunk of inOrder(data, layout, signal)) {
    signal?.throwIfAborted();
    yield chunk;
    onBytes(chunk.byteLength);
  }
  for (const piece of layout.pieces) {
    if ("late" in piece) yield { offset: piece.offset, bytes: piece.late() };
  }
}

async function* inOrder(
  data: WeightSource,
  { pieces, size }: FileLayout,
  signal: AbortSignal | undefined,
): AsyncGenerator<Uint8Array> {
  let at = 0;
  for (const piece of pieces) {
    if ("late" in piece) continue;
    yield* zeros(piece.offset - at);
    at = piece.offset;
    const chunks =
      "bytes" in piece ? [piece.bytes] : streamWeight(data, piece.weight.key, { signal, reuse: true });
    for await (const chunk of chunks) {
      piece.sum?.update(chunk);
      yield chunk;
      at += chunk.byteLength;
    }
  }
  yield* zeros(size - at);
}
