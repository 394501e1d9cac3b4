import { fileErrors, type FileFail } from "../../errors.ts";
import { DEFLATED, FULL16, FULL32, ZipSignature, ZIP_BYTES, STORED, ZIP64 } from "./schema.ts";

/** A file of an archive, as listed in the directory. */
export interface ZipEntry {
  readonly name: string;
  readonly compression: "stored" | "deflated";
  /** CRC-32 of the unpacked bytes. */
  readonly crc: number;
  /** Bytes in the archive. */
  readonly packed: number;
  /** Bytes unpacked. */
  readonly size: number;
  /** Offset of its local header, in bytes from the start of the archive. */
  readonly local: number;
}

/** The place of an archive's directory. */
export interface ZipDirectory {
  readonly offset: number;
  /** In bytes. */
  readonly size: number;
  /** Number of entries. */
  readonly count: number;
}

/** Highest ratio of compression: deflate takes at least two bits for 258 bytes (zlib, "Maximum Compression Factor"). */
const STEEPEST = 1032;

/** Length of the archive's end to read first, in bytes. */
export const ZIP_TAIL: number = ZIP_BYTES.end + ZIP_BYTES.comment + ZIP_BYTES.locator + ZIP_BYTES.end64;
/** Bytes of a local header up to its name. */
export const ZIP_LOCAL: number = ZIP_BYTES.local;

/** Returns what makes the errors of an archive. */
export function zipErrors(path: string): FileFail {
  return fileErrors({ name: path }, { showOffset: true });
}

/**
 * Finds the directory of a zip archive by the record at its end, which only a comment may follow. Source: APPNOTE.TXT
 * 6.3.10, sections 4.3.14 to 4.3.16. Refuses archives in several parts.
 * @param tail the archive's last {@link ZIP_TAIL} bytes, or all bytes of a shorter one
 * @param start offset of `tail` in the archive, in bytes
 * @throws FormatError `unknown-format`, `malformed`, `unsupported`
 */
export function findZipDirectory(tail: Uint8Array, start: number, fail: FileFail): ZipDirectory {
  const view = new DataView(tail.buffer, tail.byteOffset, tail.byteLength);
  const last = view.byteLength - ZIP_BYTES.end;
  for (let at = last; at >= 0 && at >= last - ZIP_BYTES.comment; at--) {
    if (view.getUint32(at, true) !== ZipSignature.end || view.getUint16(at + 20, true) !== last - at)
      continue;
    const directory = {
      offset: view.getUint32(at + 16, true),
      size: view.getUint32(at + 12, true),
      count: view.getUint16(at + 10, true),
    };
    const large = directory.offset === FULL32 || directory.size === FULL32 || directory.count === FULL16;
    // Some writers, such as PyTorch, always write the record, even without large numbers.
    const at64 = findEnd64(view, at, start, large, fail);
    // This disk's number, the number of the directory's disk, and the number of entries on this disk.
    if (
      at64 === undefined &&
      (view.getUint32(at + 4, true) !== 0 || view.getUint16(at + 8, true) !== directory.count)
    ) {
      throw fail("unsupported", "the archive is in several parts", { offset: start + at });
    }
    const found = at64 === undefined ? directory : directory64(view, at64, start, fail);
    if (found.offset + found.size !== start + (at64 ?? at)) {
      throw fail("malformed", "its directory is not at the place in its end record", { offset: start + at });
    }
    return found;
  }
  throw fail("unknown-format", "it does not end as a zip archive does", { offset: start + view.byteLength });
}

/**
 * Index of the record with large numbers in the tail, directly before the end record.
 * @param needed whether the end record requires it; otherwise similar bytes may be something else
 */
function findEnd64(
  view: DataView,
  end: number,
  start: number,
  needed: boolean,
  fail: FileFail,
): number | undefined {
  const locator = end - ZIP_BYTES.locator;
  if (locator < 0 || view.getUint32(locator, true) !== ZipSignature.locator) return undefined;
  const at = locator - ZIP_BYTES.end64;
  const said = view.getBigUint64(locator + 8, true);
  if (at < 0 || said !== BigInt(start + at) || view.getUint32(at, true) !== ZipSignature.end64) {
    if (!needed) return undefined;
    throw fail("malformed", "its zip64 end is not before its end", { offset: start + locator });
  }
  return at;
}

function directory64(view: DataView, at: number, start: number, fail: FileFail): ZipDirectory {
  const number = (offset: number): number => {
    const value = view.getBigUint64(at + offset, true);
    if (value > BigInt(Number.MAX_SAFE_INTEGER))
      throw fail("too-large", "its zip64 end has a number over 2^53", { offset: start + at });
    return Number(value);
  };
  if (view.getBigUint64(at + 16, true) !== 0n || number(24) !== number(32)) {
    throw fail("unsupported", "the archive is in several parts", { offset: start + at });
  }
  return { offset: number(48), size: number(40), count: number(32) };
}

/**
 * Parses an archive's directory, and refuses duplicate names.
 * Source: APPNOTE.TXT 6.3.10, sections 4.3.12 and 4.5.3. Refuses encryption, and every method but deflate.
 * @param bytes all bytes of the directory
 * @throws FormatError `malformed`, `unsupported`, `duplicate`
 */
export function parseZipDirectory(bytes: Uint8Array, directory: ZipDirectory, fail: FileFail): ZipEntry[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const names = new Set<string>();
  const entries: ZipEntry[] = [];
  let at = 0;
  for (let index = 0; index < directory.count; index++) {
    const where = directory.offset + at;
    if (at + ZIP_BYTES.central > view.byteLength || view.getUint32(at, true) !== ZipSignature.central) {
      throw fail("malformed", `entry ${index} of its directory is missing`, { offset: where });
    }
    const nameEnd = at + ZIP_BYTES.central + view.getUint16(at + 28, true);
    const extraEnd = nameEnd + view.getUint16(at + 30, true);
    const next = extraEnd + view.getUint16(at + 32, true);
    if (next > view.byteLength)
      throw fail("malformed", `entry ${index} of its directory is cut off`, { offset: where });
    const entry = parseEntry(bytes, view, at, nameEnd, extraEnd, where, fail);
    if (names.has(entry.name)) throw fail("duplicate", `it has "${entry.name}" twice`, { offset: where });
    names.add(entry.name);
    entries.push(entry);
    at = next;
  }
  if (at !== view.byteLength) {
    throw fail("malformed", "its directory is longer than its entries", { offset: directory.offset + at });
  }
  return entries;
}

function parseEntry(
  bytes: Uint8Array,
  view: DataView,
  at: number,
  nameEnd: number,
  extraEnd: number,
  where: number,
  fail: FileFail,
): ZipEntry {
  const name = decodeName(bytes.subarray(at + ZIP_BYTES.central, nameEnd), where, fail);
  const method = view.getUint16(at + 10, true);
  if (view.getUint16(at + 8, true) & 1)
    throw fail("unsupported", `"${name}" is encrypted`, { offset: where });
  if (method !== STORED && method !== DEFLATED) {
    throw fail("unsupported", `"${name}" is compressed by method ${method}`, { offset: where });
  }
  // Numbers that do not fit are in the extra field, in this order.
  const short = [view.getUint32(at + 24, true), view.getUint32(at + 20, true), view.getUint32(at + 42, true)];
  const long = short.includes(FULL32) ? zip64Numbers(view, nameEnd, extraEnd) : [];
  const [size, packed, local] = short.map((value) => {
    const number = value === FULL32 ? long.shift() : BigInt(value);
    if (number === undefined) throw fail("malformed", `"${name}" has no size`, { offset: where });
    if (number > BigInt(Number.MAX_SAFE_INTEGER))
      throw fail("too-large", `"${name}" has over 2^53 bytes`, { offset: where });
    return Number(number);
  }) as [number, number, number];
  const compression = method === STORED ? "stored" : "deflated";
  const possible = compression === "stored" ? size === packed : size <= packed * STEEPEST;
  if (!possible)
    throw fail("malformed", `"${name}" cannot unpack from ${packed} bytes to ${size}`, { offset: where });
  return { name, compression, crc: view.getUint32(at + 16, true), packed, size, local };
}

function zip64Numbers(view: DataView, start: number, end: number): bigint[] {
  for (let at = start; at + 4 <= end; ) {
    const length = view.getUint16(at + 2, true);
    const next = at + 4 + length;
    if (next > end) return [];
    if (view.getUint16(at, true) === ZIP64) {
      return Array.from({ length: Math.floor(length / 8) }, (_, index) =>
        view.getBigUint64(at + 4 + 8 * index, true),
      );
    }
    at = next;
  }
  return [];
}

/**
 * Refuses entries with overlapping data: a small archive would unpack to any size.
 * @param entries entries with the start of their data, in any order
 * @throws FormatError `malformed`
 */
export function refuseOverlaps(
  entries: readonly (ZipEntry & { readonly start: number })[],
  fail: FileFail,
): void {
  let end = 0;
  for (const { name, local, start, packed } of entries.toSorted((a, b) => a.local - b.local)) {
    if (local < end) throw fail("malformed", `"${name}" overlaps another entry`, { offset: local });
    end = start + packed;
  }
}

/** Decodes a name as UTF-8, whatever its flag: tools that write other code pages do not write tensors. */
function decodeName(bytes: Uint8Array, at: number, fail: FileFail): string {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw fail("malformed", "an entry's name is not UTF-8", { offset: at });
  }
}

/**
 * The start of an entry's data. Sizes are those of the directory: in the local header, NumPy moves them to a zip64
 * field, and streaming writers to a record after the data.
 * @param header at least {@link ZIP_LOCAL} bytes of the entry's local header
 * @param limit start of the directory
 * @throws FormatError `malformed`
 */
export function zipDataStart(
  header: Uint8Array,
  { name, local, packed }: ZipEntry,
  limit: number,
  fail: FileFail,
): number {
  const view = new DataView(header.buffer, header.byteOffset, header.byteLength);
  if (header.byteLength < ZIP_BYTES.local || view.getUint32(0, true) !== ZipSignature.local) {
    throw fail("malformed", `"${name}" is not at its place in the directory`, { offset: local });
  }
  const start = local + ZIP_BYTES.local + view.getUint16(26, true) + view.getUint16(28, true);
  if (start + packed > limit) throw fail("malformed", `"${name}" runs into the directory`, { offset: local });
  return start;
}
