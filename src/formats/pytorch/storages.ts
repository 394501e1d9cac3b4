import { inflatedSource } from "../../encodings/zip/inflated-source.ts";
import type { ZipMember } from "../../encodings/zip/read.ts";
import type { FileFail } from "../../errors.ts";
import { type ByteSource, sliceSource } from "../../io/byte-source.ts";

/** Where the data of a storage is. */
export interface StoragePlace {
  /** In bytes, unpacked. */
  readonly size: number;
  /** Bytes from the start of the checkpoint; `undefined` where it is compressed. */
  readonly start: number | undefined;
  /** Opens its bytes, unpacked. */
  open(): ByteSource;
}

/** A checkpoint's storages by key; `undefined` for one that it does not have. */
export type FindStorage = (key: string) => StoragePlace | undefined;

/** The storages of an archive: files in its folder `data`. */
export function archivedStorages(
  source: ByteSource,
  members: ReadonlyMap<string, ZipMember>,
  folder: string,
  fail: FileFail,
): FindStorage {
  return (key) => {
    const member = members.get(`${folder}data/${key}`);
    if (!member) return undefined;
    const { start, packed, size, compression } = member;
    const bytes = (): ByteSource => sliceSource(source, start, packed);
    return compression === "stored"
      ? { size, start, open: bytes }
      : { size, start: undefined, open: () => inflatedSource(bytes(), member, fail) };
  };
}
