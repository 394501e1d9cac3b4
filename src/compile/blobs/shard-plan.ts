import type { Digest } from "../../tensor/digest.ts";
import { alignUp } from "../../io/align.ts";
import type { TensorLayout } from "../../tensor/tensor-layout.ts";

/** The blob of a key. */
export interface BlobEntry {
  readonly digest: Digest;
  /** Size in bytes. */
  readonly length: number;
  /** Alignment of the blob in bytes, for all its keys. */
  readonly alignment: number;
  /** Tag of its data files; `undefined` for a blob that is embedded in the program. */
  readonly tag: string | undefined;
  readonly layout: TensorLayout | undefined;
}

/** A blob in a data file. */
export interface ShardBlob {
  readonly digest: Digest;
  /** Offset in bytes from the start of the file's data. */
  readonly offset: number;
  /** Size in bytes. */
  readonly length: number;
  readonly alignment: number;
  /** All keys of the blob, sorted. */
  readonly keys: readonly string[];
}

/** A data file to write, or the blobs that a program embeds. */
export interface ShardFile {
  /** `undefined` for the blobs that the program embeds. */
  readonly tag: string | undefined;
  /** Index in the files of its tag, from 0. */
  readonly index: number;
  /** Size in bytes. */
  readonly size: number;
  /** Sorted by offset. */
  readonly blobs: readonly ShardBlob[];
}

/** Location of a key's bytes. */
export interface ShardEntry {
  /** Index into {@link ShardPlan.files}. */
  readonly file: number;
  /** Offset in bytes from the start of the file's data. */
  readonly offset: number;
  /** Size in bytes. */
  readonly length: number;
  readonly digest: Digest;
  /** Tag of the put. A blob of several tags is in a file of the first tag. */
  readonly tag: string | undefined;
  readonly layout: TensorLayout | undefined;
}

/** The layout of all data files, as plain data, before they are written. */
export interface ShardPlan {
  /** Sorted by tag; the blobs that the program embeds come last, as one file. */
  readonly files: readonly ShardFile[];
  /** Location of each key, sorted by key. */
  readonly table: ReadonlyMap<string, ShardEntry>;
}

/** Options of {@link planShardFiles}. */
export interface ShardOptions {
  /** Largest size of a data file in bytes. A larger blob has a file of its own. */
  readonly maxBytes?: number | undefined;
}

/**
 * Lays out each blob once, in the order of first keys, so that the order of puts does not matter. A blob of several tags
 * is in a file of the first tag; a blob is embedded in the program only if none of its keys has a tag.
 * @param entries entries sorted by key
 */
export function planShardFiles(
  entries: ReadonlyMap<string, BlobEntry>,
  { maxBytes = Number.MAX_SAFE_INTEGER }: ShardOptions = {},
): ShardPlan {
  if (!Number.isSafeInteger(maxBytes) || maxBytes < 1) {
    throw new RangeError(`Cannot write files of ${maxBytes} bytes: the limit must be a positive integer`);
  }
  const keys = [...entries.keys()];
  const blobs = gather(keys, entries);
  const tags = [...new Set([...blobs.values()].map(({ tag }) => tag))].sort(
    (a, b) => Number(a === undefined) - Number(b === undefined) || byCode(a ?? "", b ?? ""),
  );
  const files = tags.flatMap((tag) => {
    const held = [...blobs.values()].filter((blob) => blob.tag === tag);
    return fill(tag, held, tag === undefined ? Number.MAX_SAFE_INTEGER : maxBytes);
  });
  const places = new Map(
    files.flatMap(({ blobs }, file) =>
      blobs.map(({ digest, offset }) => [digest, { file, offset }] as const),
    ),
  );
  const table = keys.map((key): [string, ShardEntry] => {
    const { digest, length, tag, layout } = entries.get(key) as BlobEntry;
    const place = places.get(digest) as { file: number; offset: number };
    return [key, { ...place, length, digest, tag, layout }];
  });
  return { files, table: new Map(table) };
}

interface GatheredBlob extends Omit<ShardBlob, "offset"> {
  readonly keys: string[];
  tag: string | undefined;
}

/** Lists all blobs in the order of their first keys. */
function gather(keys: readonly string[], entries: ReadonlyMap<string, BlobEntry>): Map<Digest, GatheredBlob> {
  const blobs = new Map<Digest, GatheredBlob>();
  for (const key of keys) {
    const { digest, length, alignment, tag } = entries.get(key) as BlobEntry;
    const blob = blobs.get(digest);
    if (!blob) blobs.set(digest, { digest, length, alignment, keys: [key], tag });
    else {
      blob.keys.push(key);
      if (blob.tag === undefined || (tag !== undefined && tag < blob.tag)) blob.tag = tag;
    }
  }
  return blobs;
}

function fill(tag: string | undefined, blobs: readonly GatheredBlob[], maxBytes: number): ShardFile[] {
  const files: { tag: string | undefined; index: number; size: number; blobs: ShardBlob[] }[] = [];
  for (const { digest, length, alignment, keys } of blobs) {
    let file = files.at(-1);
    if (!file || alignUp(file.size, alignment) + length > maxBytes) {
      files.push((file = { tag, index: files.length, size: 0, blobs: [] }));
    }
    const offset = alignUp(file.size, alignment);
    file.blobs.push({ digest, offset, length, alignment, keys });
    file.size = offset + length;
  }
  return files;
}

/** Compares without a locale, since machines differ in it. */
function byCode(a: string, b: string): number {
  return a < b ? -1 : Number(a > b);
}
