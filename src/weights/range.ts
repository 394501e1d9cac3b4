import type { ByteSource } from "../io/byte-source.ts";
import { isEncoded, type ByteEncoding, type ByteDecoder, createDecoder } from "../io/byte-encoding.ts";
import { FormatError } from "../errors.ts";
import { CHUNK, rangeOf, readExactly, type StreamOptions } from "../io/stream.ts";
import { checkChunk } from "../io/chunks.ts";
import {
  checkTarget,
  freeableData,
  type WeightSource,
  type WeightLayout,
  noSuchWeight,
} from "./weight-source.ts";
import { layoutBytes, formatLayout } from "../tensor/tensor-layout.ts";

/** A weight that is a range of a source. */
export interface WeightPlace extends ByteEncoding {
  readonly key: string;
  readonly layout: Omit<WeightLayout, "length">;
  /** How errors call the source. */
  readonly path: string;
  /** In bytes from its start. */
  readonly offset: number;
  /** Bytes there: more or less than the weight's where they are spelled. */
  readonly length: number;
  /** Gives the source for one use. */
  open(): Promise<OpenedSource>;
}

/** A source in use; dispose it when that is over. */
export interface OpenedSource extends AsyncDisposable {
  readonly source: ByteSource;
}

interface Place extends WeightPlace {
  readonly layout: WeightLayout;
}

/**
 * Weights that are ranges of sources, of any number and kind.
 * @throws FormatError `size-mismatch`, `duplicate`
 */
export function rangeWeights(name: string, places: Iterable<WeightPlace>): WeightSource {
  const table = new Map<string, Place>();
  for (const place of places) {
    const layout = { ...place.layout, length: lengthOf(place) };
    if (table.has(place.key)) throw refusal(place, "duplicate", "there are two of that name");
    table.set(place.key, { ...place, layout });
  }
  const placeOf = (key: string): Place => {
    const place = table.get(key);
    if (!place) throw noSuchWeight(data, key);
    return place;
  };
  const data: WeightSource = {
    name,
    keys: () => [...table.keys()],
    layout: (key) => table.get(key)?.layout,
    async data(key, { signal } = {}) {
      const place = placeOf(key);
      if (isEncoded(place)) {
        const bytes = new Uint8Array(place.layout.length);
        await data.loadInto(key, bytes, { signal });
        return freeableData(key, bytes);
      }
      await using opened = await place.open();
      const bytes = await readExactly(opened.source, place.offset, place.length, signal);
      await opened.source.file?.requireUnchanged();
      return freeableData(key, bytes);
    },
    async loadInto(key, target, { signal } = {}) {
      checkTarget(data, key, placeOf(key).layout.length, target);
      let filled = 0;
      for await (const chunk of data.stream(key, { signal, reuse: true })) {
        target.set(chunk, filled);
        filled += chunk.byteLength;
      }
    },
    stream(key, options = {}) {
      checkChunk(options);
      return streamed(placeOf(key), options);
    },
    async locate(key) {
      const place = table.get(key);
      if (!place || isEncoded(place)) return undefined;
      await using opened = await place.open();
      const { file } = opened.source;
      await file?.requireUnchanged();
      return file && { path: file.path, offset: place.offset, length: place.length };
    },
    async remote(key) {
      const place = table.get(key);
      if (!place || isEncoded(place)) return undefined;
      await using opened = await place.open();
      const { url } = opened.source;
      return url === undefined ? undefined : { url, offset: place.offset, length: place.length };
    },
  };
  return data;
}

/** A source that somebody else closes. */
export function borrowed(source: ByteSource): OpenedSource {
  return { source, [Symbol.asyncDispose]: async () => {} };
}

/** Bytes of the weight itself. */
function lengthOf(place: WeightPlace): number {
  const expected = layoutBytes(place.layout);
  const what = formatLayout(place.layout);
  if (expected === undefined) throw refusal(place, "size-mismatch", `no tensor can be ${what}`);
  if (!isEncoded(place) && place.length !== expected) {
    const reason = `${what} takes ${expected} bytes, its data has ${place.length}`;
    throw refusal(place, "size-mismatch", reason);
  }
  return expected;
}

async function* streamed(place: Place, options: StreamOptions): AsyncGenerator<Uint8Array, void, undefined> {
  await using opened = await place.open();
  const { source } = opened;
  const chunks = rangeOf(source, place.offset, place.length, options);
  yield* isEncoded(place) ? decoded(place, chunks, options) : chunks;
  await source.file?.requireUnchanged();
}

async function* decoded(
  place: Place,
  chunks: AsyncIterable<Uint8Array>,
  { chunk = CHUNK }: StreamOptions,
): AsyncGenerator<Uint8Array, void, undefined> {
  const { length } = place.layout;
  const decoder = createDecoder(place, place.path, place.offset) as ByteDecoder;
  let size = 0;
  for await (const piece of chunks) {
    const bytes = decoder.decode(piece);
    size += bytes.byteLength;
    if (size > length) break;
    for (let at = 0; at < bytes.byteLength; at += chunk) yield bytes.subarray(at, at + chunk);
  }
  if (size <= length) decoder.end();
  if (size === length) return;
  const reason = `${formatLayout(place.layout)} takes ${length} bytes, its data has ${size < length ? size : "more"}`;
  throw refusal(place, "size-mismatch", reason);
}

function refusal(
  { key, path, offset }: WeightPlace,
  code: "size-mismatch" | "duplicate",
  reason: string,
): FormatError {
  return new FormatError(code, `Cannot read tensor "${key}" of "${path}": ${reason}`, {
    path,
    tensor: key,
    offset,
  });
}
