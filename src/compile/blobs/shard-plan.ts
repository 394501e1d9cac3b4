import type { Digest } from "../../tensor/digest.ts";
import { alignUp } from "../../io/align.ts";
import type { TensorLayout } from "../../tensor/tensor-layout.ts";

/** What a key stands for. */
export interface BlobEntry {
  readonly digest: Digest;
  /** In bytes. */
  readonly length: number;
  /** Of the blob, in bytes: it satisfies every key that has it. */
  readonly alignment: number;
  /** `undefined` for what goes into the program. */
  readonly tag: string | undefined;
  readonly layout: TensorLayout | undefined;
}

/** A blob in a data file. */
export interface ShardBlob {
  readonly digest: Digest;
  /** In bytes from the start of the file's data. */
  readonly offset: number;
  /** In bytes. */
  readonly length: number;
  readonly alignment: number;
  /** All that stand for it, sorted. */
  readonly keys: readonly string[];
}

/** A data file to write, or what a program embeds. */
export interface ShardFile {
  /** `undefined` for what the program embeds. */
  readonly tag: string | undefined;
  /** Its place among the files of its tag, from 0. */
  readonly index: number;
  /** In bytes. */
  readonly size: number;
  /** By their offsets. */
  readonly blobs: readonly ShardBlob[];
}

/** Where a key's bytes are. */
export interface ShardEntry {
  /** Index into {@link ShardPlan.files}. */
  readonly file: number;
  /** In bytes from the start of the file's data. */
  readonly offset: number;
  /** In bytes. */
  readonly length: number;
  readonly digest: Digest;
  /** As it was put; a blob of several tags lies in the file of the first. */
  readonly tag: string | undefined;
  readonly layout: TensorLayout | undefined;
}

/** Where everything goes: plain data, made before anything is written. */
export interface ShardPlan {
  /** By tag; what the program embeds comes last, in one piece. */
  readonly files: readonly ShardFile[];
  /** By key, sorted. */
  readonly table: ReadonlyMap<string, ShardEntry>;
}

/** Options of {@link planShardFiles}. */
export interface ShardOptions {
  /** The most that a data file may have, in bytes; a blob that is larger has one for itself. */
  readonly maxBytes?: number | undefined;
}

/**
 * Lays blobs out into files, each blob once: in the order of their first keys, so that it does not depend on who put
 * what when. A blob of several tags goes to the first of them, and into the program only if no key of it is tagged.
 * @param entries sorted by their keys
 */
export function planShardFiles(
  entries: ReadonlyMap<string, BlobEntry>,
  { maxBytes = Number.MAX_SAFE_INTEGER }: ShardOptions = {},
): ShardPlan {
  if (!Number.isSafeInteger(maxBytes) || maxBytes < 1) {
    throw new RangeError(`Cannot write files of ${maxBytes} bytes: it takes a whole number from 1 on`);
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

/** All blobs, in the order of their first keys. */
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

/** Not by a locale: machines differ in theirs. */
function byCode(a: string, b: string): number {
  return a < b ? -1 : Number(a > b);
}
