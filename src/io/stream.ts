import { SourceError } from "../errors.ts";
import type { ByteSource, ReadOptions } from "./byte-source.ts";

/** Default length of a chunk, in bytes; a multiple of the width of every element. */
export const CHUNK: number = 4 * 1024 * 1024;
/** Length of a chunk in reused memory, in bytes: small enough for the processor's cache. */
const REUSED = 1024 * 1024;
/** Number of reused buffers: one being read, one being written, one waiting. */
const BUFFERS = 3;

/** Options of functions that yield bytes in chunks. */
export interface StreamOptions extends ReadOptions {
  /** Maximum length of a chunk, in bytes; 4 MiB if left out. */
  readonly chunk?: number | undefined;
  /**
   * Reuse memory: a chunk is valid until the second chunk after it is requested. Several times faster if chunks are
   * only hashed or written, since no memory is allocated and collected.
   */
  readonly reuse?: boolean | undefined;
}

/** Reads a range of a source in chunks. */
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

/**
 * Reads from a source, and checks the length of the result: a source may be an implementation outside of tare.
 * @throws SourceError `short-read`; the errors of the source
 */
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
    `Cannot read "${source.name}": ${length} bytes at ${offset} were requested, ${bytes.byteLength} arrived`,
    { path: source.name, offset },
  );
}
