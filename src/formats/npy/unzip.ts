import { inflateSync } from "fflate";
import {
  findZipDirectory,
  parseZipDirectory,
  refuseOverlaps,
  type ZipEntry,
  zipDataStart,
  zipErrors,
} from "../../encodings/zip/directory.ts";
import { crc32 } from "../../encodings/zip/crc32.ts";
import type { FileFail } from "../../errors.ts";

/** One file of an archive. */
export interface UnzippedFile {
  readonly name: string;
  /** A view of the archive where the entry is stored uncompressed. */
  readonly bytes: Uint8Array;
  /** Start of the entry's data in the archive, in bytes. */
  readonly start: number;
  /** Whether {@link bytes} is a view of the archive from {@link start} on. */
  readonly stored: boolean;
}

/** Most bytes that all entries may unpack to. Such archives are inputs and outputs of a run, not models. */
const LARGEST = 2 ** 31;

/**
 * Unpacks a zip archive of tensors in memory, and checks the sizes in its directory first.
 * @throws FormatError `unknown-format`, `malformed`, `unsupported`, `duplicate`, `corrupted`; `too-large` where the
 * entries would unpack to over 2 GiB
 */
export function unzip(bytes: Uint8Array, path: string): UnzippedFile[] {
  const fail = zipErrors(path);
  const directory = findZipDirectory(bytes, 0, fail);
  const { offset, size } = directory;
  const listed = parseZipDirectory(bytes.subarray(offset, offset + size), directory, fail);
  const total = listed.reduce((sum, entry) => sum + entry.size, 0);
  if (total > LARGEST) throw fail("too-large", `its entries unpack to ${total} bytes`, { offset });
  const placed = listed.map((entry) => {
    return { ...entry, start: zipDataStart(bytes.subarray(entry.local, offset), entry, offset, fail) };
  });
  refuseOverlaps(placed, fail);
  return placed.map((entry) => readEntry(bytes, entry, fail));
}

function readEntry(
  bytes: Uint8Array,
  entry: ZipEntry & { readonly start: number },
  fail: FileFail,
): UnzippedFile {
  const { name, compression, packed, size, start } = entry;
  const data = bytes.subarray(start, start + packed);
  const stored = compression === "stored";
  const unpacked = stored ? data : inflate(data, size, name, start, fail);
  if (crc32(unpacked) !== entry.crc)
    throw fail("corrupted", `"${name}" does not have its checksum`, { offset: start });
  return { name, bytes: unpacked, start, stored };
}

function inflate(data: Uint8Array, size: number, name: string, at: number, fail: FileFail): Uint8Array {
  let out: Uint8Array;
  try {
    // One byte more than declared shows whether there is more; fflate never writes past its output.
    out = inflateSync(data, { out: new Uint8Array(size + 1) });
  } catch (cause) {
    throw fail("malformed", `"${name}" does not unpack (${(cause as Error).message})`, { offset: at });
  }
  if (out.byteLength !== size)
    throw fail("malformed", `"${name}" does not unpack to ${size} bytes`, { offset: at });
  return out;
}
