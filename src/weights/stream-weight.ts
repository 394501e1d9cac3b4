import { checkChunk } from "../io/chunks.ts";
import { rangeOf, type StreamOptions } from "../io/stream.ts";
import { openWeight } from "./open-weight.ts";
import type { WeightSource } from "./weight-source.ts";

/**
 * Reads a weight in chunks.
 * @throws RangeError at once for an invalid `chunk`; LinkError `missing-weight`; SourceError `source-changed`, which
 * may come after the last chunk
 */
export function streamWeight(
  source: WeightSource,
  key: string,
  options: StreamOptions = {},
): AsyncIterable<Uint8Array> {
  checkChunk(options);
  return streamed(source, key, options);
}

async function* streamed(
  source: WeightSource,
  key: string,
  options: StreamOptions,
): AsyncGenerator<Uint8Array, void, undefined> {
  await using bytes = await openWeight(source, key, options);
  yield* rangeOf(bytes, 0, bytes.size, options);
  await bytes.file?.requireUnchanged();
}
