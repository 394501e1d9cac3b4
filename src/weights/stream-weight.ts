import { checkChunk } from "../io/chunks.ts";
import { rangeOf, type StreamOptions } from "../io/stream.ts";
import { openWeight } from "./open-weight.ts";
import type { WeightSource } from "./weight-source.ts";

/**
 * Reads a weight piece by piece. That its file changed may show only after the last piece.
 * @throws RangeError for a `chunk` that is no length, at once; LinkError `missing-weight`; SourceError `source-changed`
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
