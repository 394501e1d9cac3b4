import type { ByteSource } from "./byte-source.ts";
import { CHUNK, rangeOf, type StreamOptions } from "./stream.ts";

/** Bytes to store: in memory, in a source, or as a stream. */
export type BlobData = Uint8Array | ByteSource | AsyncIterable<Uint8Array>;

/** Yields data in chunks, each read on demand. An abort ends the stream even if a producer is silent. */
export async function* chunksOf(
  data: BlobData,
  signal: AbortSignal | undefined,
): AsyncGenerator<Uint8Array, void, undefined> {
  signal?.throwIfAborted();
  if (data instanceof Uint8Array) yield data;
  else if (Symbol.asyncIterator in data) yield* produced(data, signal);
  else yield* rangeOf(data, 0, data.size, { signal });
}

/** Returns the size of data in bytes; `undefined` for a stream, whose size is unknown before it ends. */
export function knownSize(data: BlobData): number | undefined {
  if (data instanceof Uint8Array) return data.byteLength;
  return Symbol.asyncIterator in data ? undefined : data.size;
}

/**
 * Checks the chunk length of stream options.
 * @throws RangeError unless it is an integer from 1 on
 */
export function checkChunk({ chunk = CHUNK }: StreamOptions): void {
  if (Number.isSafeInteger(chunk) && chunk >= 1) return;
  throw new RangeError(`Cannot read chunks of ${chunk} bytes: the length must be an integer from 1 on`);
}

async function* produced(
  data: AsyncIterable<Uint8Array>,
  signal: AbortSignal | undefined,
): AsyncGenerator<Uint8Array, void, undefined> {
  const iterator = data[Symbol.asyncIterator]();
  let over = false;
  try {
    for (;;) {
      const next = iterator.next();
      const result = await (signal ? orAbort(next, signal) : next);
      if (result.done) {
        over = true;
        return;
      }
      const chunk: unknown = result.value;
      if (!(chunk instanceof Uint8Array))
        throw new TypeError("Cannot store a stream: a chunk is not a Uint8Array");
      yield chunk;
    }
  } finally {
    // After an abort it does not wait for the producer, which may stay silent.
    const end = over ? undefined : iterator.return?.();
    if (signal?.aborted) void end?.catch(() => undefined);
    else await end;
  }
}

/** Adds one listener for each chunk: a single long-lived promise would keep every chunk in memory. */
function orAbort<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const stop = (): void => reject(signal.reason as Error);
    if (signal.aborted) stop();
    signal.addEventListener("abort", stop, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener("abort", stop));
  });
}
