import type { ReadOptions } from "../io/byte-source.ts";
import { LinkError } from "../errors.ts";
import type { StreamOptions } from "../io/stream.ts";
import { type FileRange, locateWeight } from "./locate-weight.ts";
import { readWeight } from "./read-weight.ts";
import { streamWeight } from "./stream-weight.ts";
import { noSuchWeight, type WeightLayout, type WeightSource } from "./weight-source.ts";

/** Which weights to load; all if left out. */
export interface WeightSelection {
  readonly keys?: readonly string[] | undefined;
}

/** A weight and what it is. */
export interface KnownWeight {
  readonly key: string;
  readonly layout: WeightLayout;
}

/** A weight that an engine maps itself. */
export interface MappedWeight extends KnownWeight, FileRange {}

/** A weight in memory. It is freed when the next one is asked for: take what is to be kept before that. */
export interface ReadWeight extends KnownWeight {
  /** @throws LinkError `released` once it was freed */
  readonly bytes: Uint8Array;
}

/** A weight that is read as its pieces are asked for. */
export interface StreamedWeight extends KnownWeight {
  readonly chunks: AsyncIterable<Uint8Array>;
}

/**
 * Finds the file ranges of weights, for engines that map files: nothing is read.
 * @throws LinkError `unsupported` for a weight that is in no file as plain bytes, `missing-weight`; SourceError
 * `source-changed`
 */
export async function mapWeights(data: WeightSource, options: WeightSelection = {}): Promise<MappedWeight[]> {
  const mapped: MappedWeight[] = [];
  for (const { key, layout } of select(data, options)) {
    const range = await locateWeight(data, key);
    if (!range) {
      throw new LinkError(
        "unsupported",
        `Cannot map weight "${key}" of "${data.name}": no file has it as it is`,
        {
          path: data.name,
          tensor: key,
          hint: "read or stream it instead",
        },
      );
    }
    mapped.push({ key, layout, ...range });
  }
  return mapped;
}

/**
 * Reads weights one after the other, for engines that take them whole: one is in memory at a time, unless whoever asks
 * keeps them.
 */
export async function* readWeights(
  data: WeightSource,
  { signal, ...options }: WeightSelection & ReadOptions = {},
): AsyncGenerator<ReadWeight, void, undefined> {
  for (const { key, layout } of select(data, options)) {
    using held = await readWeight(data, key, { signal });
    yield {
      key,
      layout,
      get bytes() {
        return held.bytes;
      },
    };
  }
}

/** Streams weights one after the other, for engines with memory of their own: one piece is in memory at a time. */
export async function* streamWeights(
  data: WeightSource,
  { chunk, signal, ...options }: WeightSelection & StreamOptions = {},
): AsyncGenerator<StreamedWeight, void, undefined> {
  for (const { key, layout } of select(data, options)) {
    signal?.throwIfAborted();
    yield { key, layout, chunks: streamWeight(data, key, { chunk, signal }) };
  }
}

/** All of them are looked up before the first is touched. */
function select(data: WeightSource, { keys = data.keys() }: WeightSelection): KnownWeight[] {
  return keys.map((key) => {
    const layout = data.layout(key);
    if (!layout) throw noSuchWeight(data, key);
    return { key, layout };
  });
}
