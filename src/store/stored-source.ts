import { type ByteSource, checkRange, type ReadOptions } from "../io/byte-source.ts";
import { isEncoded, encodeBytes } from "../io/byte-encoding.ts";
import { FormatError } from "../errors.ts";
import type { StoredFile } from "../model/config.ts";
import { fileSegments, type Segment } from "../model/segments.ts";
import type { StoredModel } from "../model/stored-model.ts";
import type { BlobReader, BlobSource } from "./store.ts";

/** Size limit of a weight to encode as varints: the complete weight is encoded for each read of a part. */
const MAX_ENCODED_BYTES = 16 * 1024 * 1024;

/** An original file of a model, read from the blobs of its segments. Dispose it to close them. */
export interface StoredSource extends ByteSource, AsyncDisposable {}

/**
 * Opens an original file of a stored model for range reads, without writing the file.
 * Does not check the bytes of weights against their digests.
 * @throws LinkError `missing-weight`; StoreError `missing-blob` on a read
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

/** Reads `count` bytes of a segment; `from` and `count` are in bytes of the original file. */
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
    // Each byte has two digits: read the bytes that the range of digits covers.
    const first = Math.floor(from / 2);
    const bytes = await blob.read(segment.offset + first, Math.ceil((from + count) / 2) - first, options);
    return encodeBytes(weight, bytes).subarray(from - 2 * first, from - 2 * first + count);
  }
  if (segment.length > MAX_ENCODED_BYTES) {
    throw new FormatError(
      "too-large",
      `Cannot read "${blob.name}": a weight of ${segment.length} bytes is encoded as varints, the limit is ${MAX_ENCODED_BYTES}`,
      {
        path: blob.name,
        offset: segment.offset,
        digest: weight.digest,
      },
    );
  }
  const encoded = encodeBytes(weight, await blob.read(segment.offset, segment.length, options));
  return encoded.subarray(from, from + count);
}

/**
 * Returns the index of the last start that is not after an offset. Of equal starts it is the last: its segment is not
 * empty.
 */
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
