import { alignUp } from "../../io/align.ts";
import { ByteWriter } from "../../io/byte-writer.ts";
import type { ZipDirectory } from "./directory.ts";
import { FULL16, FULL32, ZipSignature, ZIP_BYTES, STORED, ZIP64 } from "./schema.ts";

/** What writers of archives do each in a way of their own. */
export interface ZipStyle {
  /** Of each entry: what made it, and the version that reading it needs. */
  readonly madeBy: number;
  readonly needed: number;
  /** The same of the zip64 end. */
  readonly endMadeBy: number;
  readonly endNeeded: number;
  /** As MS-DOS has it; the time is midnight. */
  readonly date: number;
  /** Of files, in their directory entry. */
  readonly attributes: number;
  /** Which names are flagged as UTF-8. */
  readonly flagged: "all" | "not ascii";
  /** Whether a checksum stands before its data, with sizes of 64 bits, or in a record behind it, if there is any. */
  readonly checksums: "before" | "behind";
  /** The largest size or offset that is not left to a zip64 field. */
  readonly largest: number;
  /** Whether there is a zip64 end where all numbers are small, too. */
  readonly alwaysEnd64: boolean;
  /** Data starts at a multiple of it, behind an extra field of padding. */
  readonly alignment?: number;
}

/** A file of an archive that is stored as it is. */
export interface StoredEntry {
  readonly name: Uint8Array;
  readonly size: number;
  /** Where its local header lies, in bytes. */
  readonly local: number;
}

const UTF8 = 0x800;
const BEHIND = 0x8;
/** The id of the field of padding, "FB", and what it is padded with: PyTorch's. */
const PADDING = 0x4246;
const FILLER = 0x5a;
/** Of an extra field: its id and length. */
const FIELD = 4;

/** Encodes what stands before an entry's data. */
export function encodeLocal(entry: StoredEntry, crc: number, style: ZipStyle): Uint8Array {
  const { name, size, local } = entry;
  const before = style.checksums === "before";
  // A size that is said behind the data is nothing here; the unpacked one PyTorch knows beforehand.
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

/** Encodes what stands behind an entry's data where its checksum is not before it. */
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
  // No comment, on the first disk, of no special kind.
  for (let field = 0; field < 3; field++) out.uint16(0);
  out.uint32(style.attributes);
  out.uint32(short(local));
  out.bytes(name);
  writeZip64(out, zip64);
  return out.finish();
}

/** Encodes what stands behind the directory: for large numbers, two records more. */
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

/** Whether an entry's checksum stands behind its data. */
export function isBehind({ size }: StoredEntry, { checksums }: ZipStyle): boolean {
  return checksums === "behind" && size > 0;
}

/** What does not fit, in the order of the zip64 field: the size, the size as it is stored, where the entry is. */
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
