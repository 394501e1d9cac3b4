import { type ByteSource, checkRange, type ReadOptions } from "../io/byte-source.ts";
import { isEncoded, encodeBytes } from "../io/byte-encoding.ts";
import { FormatError } from "../errors.ts";
import type { StoredFile } from "../model/config.ts";
import { fileSegments, type Segment } from "../model/segments.ts";
import type { StoredModel } from "../model/stored-model.ts";
import type { BlobReader, BlobSource } from "./store.ts";

/** A weight that is spelled as varints has to be spelled whole to find a part of it. */
const MAX_ENCODED_BYTES = 16 * 1024 * 1024;

/** An original file of a model, as it was, read from the blobs that hold its parts. Dispose it to close them. */
export interface StoredSource extends ByteSource, AsyncDisposable {}

/**
 * Opens a file of a model without writing it: what reads a file reads one of the store.
 * The bytes of weights are not checked against their digests.
 * @throws LinkError `missing-weight`; StoreError `missing-blob` where a part is read that is not there
 */
export function storedSource(store: BlobReader, model: StoredModel, file: StoredFile): StoredSource {
  const segments = fileSegments(model, file);
  const starts: number[] = [];
  let size = 0;
  for (const segment of segments) {
    starts.push(size);
    size += segment.fileLength;
  }
  const blobs = new Map<string, Promise<BlobSource>>();
  const open = (segment: Segment): Promise<BlobSource> => {
    const known = blobs.get(segment.blob) ?? store.blobs.open(segment.blob);
    blobs.set(segment.blob, known);
    return known;
  };
  const source: StoredSource = {
    name: `${model.name}/${file.path}`,
    size: file.size,
    async read(offset, length, options: ReadOptions = {}) {
      checkRange(source, offset, length);
      const out = new Uint8Array(length);
      let index = lastAtOrBefore(starts, offset);
      for (let filled = 0; filled < length; index++) {
        const segment = segments[index] as Segment;
        const from = offset + filled - (starts[index] as number);
        const count = Math.min(length - filled, segment.fileLength - from);
        out.set(await readSegment(await open(segment), segment, from, count, options), filled);
        filled += count;
      }
      return out;
    },
    async [Symbol.asyncDispose]() {
      for (const blob of blobs.values()) {
        const opened = await blob.catch(() => undefined);
        await opened?.[Symbol.asyncDispose]();
      }
      blobs.clear();
    },
  };
  return source;
}

/** Reads part of a segment, both counted in the bytes of the file. */
async function readSegment(
  blob: BlobSource,
  segment: Segment,
  from: number,
  count: number,
  options: ReadOptions,
): Promise<Uint8Array> {
  const { weight } = segment;
  if (!weight || !isEncoded(weight)) return blob.read(segment.offset + from, count, options);
  if (weight.hex) {
    // Two digits a byte: a part of them is a part of the bytes.
    const first = Math.floor(from / 2);
    const bytes = await blob.read(segment.offset + first, Math.ceil((from + count) / 2) - first, options);
    return encodeBytes(weight, bytes).subarray(from - 2 * first, from - 2 * first + count);
  }
  if (segment.length > MAX_ENCODED_BYTES) {
    throw new FormatError("too-large", `Cannot read "${blob.name}": a weight of it is spelled as varints`, {
      path: blob.name,
      offset: segment.offset,
      digest: weight.digest,
    });
  }
  const spelled = encodeBytes(weight, await blob.read(segment.offset, segment.length, options));
  return spelled.subarray(from, from + count);
}

/** Index of the last start that is not after an offset; of several at one place the last, which is not empty. */
function lastAtOrBefore(starts: readonly number[], offset: number): number {
  let low = 0;
  let high = starts.length - 1;
  while (low < high) {
    const middle = Math.ceil((low + high) / 2);
    if ((starts[middle] as number) <= offset) low = middle;
    else high = middle - 1;
  }
  return low;
}
