import type { ByteSource } from "./byte-source.ts";
import { CHUNK, rangeOf, type StreamOptions } from "./stream.ts";

/** Bytes to be stored: in memory, in a source, or as something makes them. */
export type BlobData = Uint8Array | ByteSource | AsyncIterable<Uint8Array>;

/** Gives data piece by piece, each read when it is asked for. An abort ends it even while a producer is silent. */
export async function* chunksOf(
  data: BlobData,
  signal: AbortSignal | undefined,
): AsyncGenerator<Uint8Array, void, undefined> {
  signal?.throwIfAborted();
  if (data instanceof Uint8Array) yield data;
  else if (Symbol.asyncIterator in data) yield* produced(data, signal);
  else yield* rangeOf(data, 0, data.size, { signal });
}

/** Its size, where that is known before it is read. */
export function knownSize(data: BlobData): number | undefined {
  if (data instanceof Uint8Array) return data.byteLength;
  return Symbol.asyncIterator in data ? undefined : data.size;
}

/** Refuses what is no length of a piece: a caller's mistake. */
export function checkChunk({ chunk = CHUNK }: StreamOptions): void {
  if (Number.isSafeInteger(chunk) && chunk >= 1) return;
  throw new RangeError(`Cannot give pieces of ${chunk} bytes: it takes a whole number from 1 on`);
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
      if (!(chunk instanceof Uint8Array)) throw new TypeError("Cannot store a stream of anything but bytes");
      yield chunk;
    }
  } finally {
    // Not waited for after an abort: the producer may be silent for ever.
    const end = over ? undefined : iterator.return?.();
    if (signal?.aborted) void end?.catch(() => undefined);
    else await end;
  }
}

/** A listener for each piece and not one for all: what one promise waits for would keep every piece alive. */
function orAbort<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const stop = (): void => reject(signal.reason as Error);
    if (signal.aborted) stop();
    signal.addEventListener("abort", stop, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener("abort", stop));
  });
}
