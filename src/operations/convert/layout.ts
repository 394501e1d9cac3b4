import { zeros } from "../../io/align.ts";
import { streamWeight } from "../../weights/stream-weight.ts";
import type { WeightSource } from "../../weights/weight-source.ts";
import type { DType } from "../../tensor/dtype.ts";
import type { FileChunk } from "../../node/write-chunks.ts";

/** A weight to write. */
export interface WeightSpec {
  /** Where it comes from. */
  readonly key: string;
  /** What it is called in the new file. */
  readonly name: string;
  readonly dtype: DType;
  readonly shape: readonly number[];
  /** In bytes. */
  readonly length: number;
}

/** Takes in bytes as they go by: a checksum of some of a file's pieces. */
export interface Sum {
  update(bytes: Uint8Array): void;
}

/**
 * A piece of a file: bytes of its own, or a weight, which a sum may take in; or bytes that are made of sums, once all
 * of the file has gone by. Zeros lie between pieces, and after the last.
 */
export type Piece =
  | { readonly offset: number; readonly bytes: Uint8Array; readonly sum?: Sum }
  | { readonly offset: number; readonly weight: WeightSpec; readonly sum?: Sum }
  | { readonly offset: number; readonly length: number; readonly late: () => Uint8Array };

/** A file of weights: its pieces in order, and its size in bytes. For one writing: its sums begin at nothing. */
export interface FileLayout {
  readonly pieces: readonly Piece[];
  readonly size: number;
}

/** Options of {@link chunksOf}. */
export interface ChunkOptions {
  readonly signal?: AbortSignal | undefined;
  /** Told how many bytes were taken. */
  readonly onBytes: (bytes: number) => void;
}

/** The bytes of a file, one after another; and then those that were made of sums, where zeros stood for them. */
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
