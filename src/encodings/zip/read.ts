import type { ByteSource, ReadOptions } from "../../io/byte-source.ts";
import {
  findZipDirectory,
  parseZipDirectory,
  refuseOverlaps,
  ZIP_LOCAL,
  ZIP_TAIL,
  zipDataStart,
  type ZipEntry,
  zipErrors,
} from "./directory.ts";

/** Largest directory, in bytes: enough for a million entries. */
const MAX_DIRECTORY_BYTES = 128 * 1024 * 1024;

/** A file of an archive, with the place of its data. */
export interface ZipMember extends ZipEntry {
  /** Bytes from the start of the archive. */
  readonly start: number;
}

/**
 * Reads the directory of a zip archive and the local headers, and no data. Refuses overlapping data.
 * @throws FormatError `unknown-format`, `malformed`, `unsupported`, `duplicate`, `too-large`
 */
export async function readZip(source: ByteSource, options: ReadOptions = {}): Promise<ZipMember[]> {
  const fail = zipErrors(source.name);
  const length = Math.min(source.size, ZIP_TAIL);
  const tailStart = source.size - length;
  const tail = await source.read(tailStart, length, options);
  const directory = findZipDirectory(tail, tailStart, fail);
  if (directory.size > MAX_DIRECTORY_BYTES) {
    throw fail("too-large", `its directory has ${directory.size} bytes`, { offset: directory.offset });
  }
  const bytes =
    directory.offset >= tailStart
      ? tail.subarray(directory.offset - tailStart, directory.offset - tailStart + directory.size)
      : await source.read(directory.offset, directory.size, options);
  const entries = parseZipDirectory(bytes, directory, fail);
  // Entries that overlap even with the shortest headers are refused before a million reads.
  refuseOverlaps(
    entries.map((entry) => ({ ...entry, start: entry.local + ZIP_LOCAL })),
    fail,
  );
  const members: ZipMember[] = [];
  for (const entry of entries) {
    const limit = directory.offset;
    if (entry.local > limit - ZIP_LOCAL)
      throw fail("malformed", `"${entry.name}" is not at its place in the directory`, {
        offset: entry.local,
      });
    const header = await source.read(entry.local, ZIP_LOCAL, options);
    members.push({ ...entry, start: zipDataStart(header, entry, limit, fail) });
  }
  refuseOverlaps(members, fail);
  return members;
}
