import type { ReadOptions } from "../io/byte-source.ts";
import { LinkError } from "../errors.ts";
import type { StreamOptions } from "../io/stream.ts";
import { type FileRange, locateWeight } from "./locate-weight.ts";
import { readWeight } from "./read-weight.ts";
import { streamWeight } from "./stream-weight.ts";
import { noSuchWeight, type WeightLayout, type WeightSource } from "./weight-source.ts";

/** Keys of the weights to load; all unless given. */
export interface WeightSelection {
  readonly keys?: readonly string[] | undefined;
}

/** Key and layout of a weight. */
export interface KnownWeight {
  readonly key: string;
  readonly layout: WeightLayout;
}

/** A weight as a file range, which an engine maps. */
export interface MappedWeight extends KnownWeight, FileRange {}

/** A weight in memory. It is freed when the next weight is requested: copy or keep `bytes` before that. */
export interface ReadWeight extends KnownWeight {
  /** @throws LinkError `released` after the weight is freed */
  readonly bytes: Uint8Array;
}

/** A weight as a stream, read on demand. */
export interface StreamedWeight extends KnownWeight {
  readonly chunks: AsyncIterable<Uint8Array>;
}

/**
 * Finds the file ranges of weights, for engines that map files. Reads no weights.
 * @throws LinkError `unsupported` for a weight that no file has as plain bytes, `missing-weight`; SourceError
 * `source-changed`
 */
export async function mapWeights(data: WeightSource, options: WeightSelection = {}): Promise<MappedWeight[]> {
  const mapped: MappedWeight[] = [];
  for (const { key, layout } of select(data, options)) {
    const range = await locateWeight(data, key);
    if (!range) {
      throw new LinkError(
        "unsupported",
        `Cannot map weight "${key}" of "${data.name}": no file has it as plain bytes`,
        {
          path: data.name,
          tensor: key,
          hint: "Read or stream the weight instead",
        },
      );
    }
    mapped.push({ key, layout, ...range });
  }
  return mapped;
}

/**
 * Reads weights one after the other, for engines that take complete weights. One weight is in memory at a time, unless
 * the caller keeps its bytes.
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

/** Streams weights one after the other, for engines that copy chunks. One chunk is in memory at a time. */
export async function* streamWeights(
  data: WeightSource,
  { chunk, signal, ...options }: WeightSelection & StreamOptions = {},
): AsyncGenerator<StreamedWeight, void, undefined> {
  for (const { key, layout } of select(data, options)) {
    signal?.throwIfAborted();
    yield { key, layout, chunks: streamWeight(data, key, { chunk, signal }) };
  }
}

/** Looks up the layouts of all weights before the first one is read. */
function select(data: WeightSource, { keys = data.keys() }: WeightSelection): KnownWeight[] {
  return keys.map((key) => {
    const layout = data.layout(key);
    if (!layout) throw noSuchWeight(data, key);
    return { key, layout };
  });
}
