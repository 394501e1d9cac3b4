import { SourceError } from "../errors.ts";
import type { ByteSource, ReadOptions } from "./byte-source.ts";

/** Bytes that pass at a time where nobody says otherwise; divides by the width of every element. */
export const CHUNK: number = 4 * 1024 * 1024;
/** Where memory is used again pieces are smaller: they stay in the processor's cache. */
const REUSED = 1024 * 1024;
/** One that is read, one that is written, and one between. */
const BUFFERS = 3;

/** Options of everything that gives bytes piece by piece. */
export interface StreamOptions extends ReadOptions {
  /** The longest piece, in bytes; 4 MiB if left out. */
  readonly chunk?: number | undefined;
  /**
   * Let pieces lie in memory that is used again: a piece is then valid until the second one after it is asked for. Several
   * times faster where pieces are only hashed or written, since no memory is made and collected.
   */
  readonly reuse?: boolean | undefined;
}

/** A range of a source, piece by piece. */
export async function* rangeOf(
  source: ByteSource,
  offset: number,
  length: number,
  { chunk, signal, reuse = false }: StreamOptions = {},
): AsyncGenerator<Uint8Array, void, undefined> {
  const most = chunk ?? (reuse ? REUSED : CHUNK);
  if (!reuse || !source.readInto || length <= most) {
    for (let read = 0; read < length; read += most) {
      yield await readExactly(source, offset + read, Math.min(most, length - read), signal);
    }
    return;
  }
  const buffers = Array.from({ length: BUFFERS }, () => new Uint8Array(most));
  for (let read = 0, nth = 0; read < length; read += most, nth++) {
    signal?.throwIfAborted();
    const piece = (buffers[nth % BUFFERS] as Uint8Array).subarray(0, Math.min(most, length - read));
    await source.readInto(piece, offset + read, { signal });
    yield piece;
  }
}

/** A read that holds a source to its word: sources may be somebody else's. */
export async function readExactly(
  source: ByteSource,
  offset: number,
  length: number,
  signal: AbortSignal | undefined,
): Promise<Uint8Array> {
  signal?.throwIfAborted();
  const bytes = await source.read(offset, length, { signal });
  if (bytes.byteLength === length) return bytes;
  throw new SourceError(
    "short-read",
    `Cannot read "${source.name}": ${length} bytes at ${offset} were asked for, ${bytes.byteLength} came`,
    { path: source.name, offset },
  );
}
