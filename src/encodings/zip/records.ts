import { alignUp } from "../../io/align.ts";
import { ByteWriter } from "../../io/byte-writer.ts";
import type { ZipDirectory } from "./directory.ts";
import { FULL16, FULL32, ZipSignature, ZIP_BYTES, STORED, ZIP64 } from "./schema.ts";

/** The differences between writers of archives. */
export interface ZipStyle {
  /** For each entry, the version that made it, and the version that reading needs. */
  readonly madeBy: number;
  readonly needed: number;
  /** The same for the zip64 end. */
  readonly endMadeBy: number;
  readonly endNeeded: number;
  /** Date in the format of MS-DOS; the time is midnight. */
  readonly date: number;
  /** Attributes of files in the directory. */
  readonly attributes: number;
  /** The names to flag as UTF-8. */
  readonly flagged: "all" | "not ascii";
  /** Whether a checksum is before its data, with 64-bit sizes, or in a record after it, if there is data. */
  readonly checksums: "before" | "behind";
  /** Largest size or offset that needs no zip64 field. */
  readonly largest: number;
  /** Whether to write a zip64 end even if all numbers are small. */
  readonly alwaysEnd64: boolean;
  /** Alignment of data in bytes, by an extra field of padding. */
  readonly alignment?: number;
}

/** An uncompressed file of an archive. */
export interface StoredEntry {
  readonly name: Uint8Array;
  readonly size: number;
  /** Offset of its local header, in bytes. */
  readonly local: number;
}

const UTF8 = 0x800;
const BEHIND = 0x8;
/** Id of PyTorch's field of padding, "FB", and its byte. */
const PADDING = 0x4246;
const FILLER = 0x5a;
/** Bytes of an extra field's id and length. */
const FIELD = 4;

/** Encodes the local header of an entry, before its data. */
export function encodeLocal(entry: StoredEntry, crc: number, style: ZipStyle): Uint8Array {
  const { name, size, local } = entry;
  const before = style.checksums === "before";
  // A size that follows the data is 0 here; PyTorch writes the unpacked size here too.
  const zip64 = before ? [size, size] : largeNumbers(entry, style, 0);
  const end = local + ZIP_BYTES.local + name.byteLength + (zip64.length && FIELD + 8 * zip64.length);
  const padding = style.alignment && alignUp(end + FIELD, style.alignment) - end;
  const out = new ByteWriter();
  out.uint32(ZipSignature.local);
  out.uint16(style.needed);
  out.uint16(flagsOf(entry, style));
  out.uint16(STORED);
  out.uint16(0);
  out.uint16(style.date);
  out.uint32(before ? crc : 0);
  out.uint32(before ? FULL32 : 0);
  out.uint32(before ? FULL32 : 0);
  out.uint16(name.byteLength);
  out.uint16(end - local - ZIP_BYTES.local - name.byteLength + (padding ?? 0));
  out.bytes(name);
  writeZip64(out, zip64);
  if (padding) {
    out.uint16(PADDING);
    out.uint16(padding - FIELD);
    out.bytes(new Uint8Array(padding - FIELD).fill(FILLER));
  }
  return out.finish();
}

/** Encodes the record after an entry's data, if its checksum is not before it. */
export function encodeDescriptor(entry: StoredEntry, crc: number, style: ZipStyle): Uint8Array {
  const out = new ByteWriter();
  out.uint32(ZipSignature.descriptor);
  out.uint32(crc);
  const long = largeNumbers(entry, style).length > 0;
  for (const size of [entry.size, entry.size]) {
    if (long) out.uint64(size);
    else out.uint32(size);
  }
  return out.finish();
}

/** Encodes an entry of the directory. */
export function encodeCentral(entry: StoredEntry, crc: number, style: ZipStyle): Uint8Array {
  const { name, size, local } = entry;
  const zip64 = largeNumbers(entry, style);
  const short = (value: number): number => (value > style.largest ? FULL32 : value);
  const out = new ByteWriter();
  out.uint32(ZipSignature.central);
  out.uint16(style.madeBy);
  out.uint16(style.needed);
  out.uint16(flagsOf(entry, style));
  out.uint16(STORED);
  out.uint16(0);
  out.uint16(style.date);
  out.uint32(crc);
  out.uint32(short(size));
  out.uint32(short(size));
  out.uint16(name.byteLength);
  out.uint16(zip64.length && FIELD + 8 * zip64.length);
  // No comment, the first disk, no internal attributes.
  for (let field = 0; field < 3; field++) out.uint16(0);
  out.uint32(style.attributes);
  out.uint32(short(local));
  out.bytes(name);
  writeZip64(out, zip64);
  return out.finish();
}

/** Encodes the end of the archive; large numbers take two more records. */
export function encodeEnd({ offset, size, count }: ZipDirectory, style: ZipStyle): Uint8Array {
  const out = new ByteWriter();
  if (style.alwaysEnd64 || count > FULL16 || Math.max(offset, size) > style.largest) {
    out.uint32(ZipSignature.end64);
    out.uint64(ZIP_BYTES.end64 - 12);
    out.uint16(style.endMadeBy);
    out.uint16(style.endNeeded);
    out.uint64(0);
    for (const value of [count, count, size, offset]) out.uint64(value);
    out.uint32(ZipSignature.locator);
    out.uint32(0);
    out.uint64(offset + size);
    out.uint32(1);
  }
  out.uint32(ZipSignature.end);
  out.uint32(0);
  for (const value of [count, count]) out.uint16(Math.min(value, FULL16));
  for (const value of [size, offset]) out.uint32(Math.min(value, FULL32));
  out.uint16(0);
  return out.finish();
}

/** Whether an entry's checksum follows its data. */
export function isBehind({ size }: StoredEntry, { checksums }: ZipStyle): boolean {
  return checksums === "behind" && size > 0;
}

/** Numbers that do not fit, in the order of the zip64 field: unpacked size, stored size, offset of the entry. */
function largeNumbers({ size, local }: StoredEntry, { largest }: ZipStyle, packed = size): number[] {
  return [...(size > largest ? [size, packed] : []), ...(local > largest ? [local] : [])];
}

function writeZip64(out: ByteWriter, values: readonly number[]): void {
  if (values.length === 0) return;
  out.uint16(ZIP64);
  out.uint16(8 * values.length);
  for (const value of values) out.uint64(value);
}

function flagsOf(entry: StoredEntry, style: ZipStyle): number {
  const utf8 = style.flagged === "all" || entry.name.some((byte) => byte > 0x7f);
  return (utf8 ? UTF8 : 0) | (isBehind(entry, style) ? BEHIND : 0);
}
