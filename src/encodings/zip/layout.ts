import { ByteWriter } from "../../io/byte-writer.ts";
import { FULL16 } from "./schema.ts";
import {
  encodeCentral,
  encodeDescriptor,
  encodeEnd,
  encodeLocal,
  isBehind,
  type StoredEntry,
  type ZipStyle,
} from "./records.ts";

/** An uncompressed file to write. */
export interface ZipFile {
  /** Up to 65,535 bytes of UTF-8. */
  readonly name: string;
  /** In bytes. */
  readonly size: number;
}

/** A range of an archive between the files' data. It has checksums, so it is encoded after all data. */
export interface ZipFrame {
  readonly offset: number;
  readonly length: number;
  /** @param crcOf gives the CRC-32 of a file, by its index */
  readonly encode: (crcOf: (file: number) => number) => Uint8Array;
}

/** The layout of an archive. */
export interface ZipLayout {
  /** Start of each file's data, in bytes. */
  readonly starts: readonly number[];
  /** In order, with only the files' data between them. */
  readonly frames: readonly ZipFrame[];
  readonly size: number;
}

/**
 * Lays out an archive of uncompressed files in a writer's style, with zip64 fields for large numbers. Source:
 * APPNOTE.TXT 6.3.10, sections 4.3.6 to 4.3.16.
 * @throws RangeError for a name over 65,535 bytes
 */
export function layOutZip(files: readonly ZipFile[], style: ZipStyle): ZipLayout {
  const starts: number[] = [];
  const frames: ZipFrame[] = [];
  const entries: StoredEntry[] = [];
  let end = 0;
  const frame = (encode: ZipFrame["encode"]): void => {
    const { byteLength: length } = encode(() => 0);
    frames.push({ offset: end, length, encode });
    end += length;
  };
  for (const [nth, { name, size }] of files.entries()) {
    const entry = { name: new TextEncoder().encode(name), size, local: end };
    if (entry.name.byteLength > FULL16)
      throw new RangeError("Cannot write a zip entry's name of that length");
    entries.push(entry);
    frame((crcOf) => encodeLocal(entry, crcOf(nth), style));
    starts.push(end);
    end += size;
    if (isBehind(entry, style)) frame((crcOf) => encodeDescriptor(entry, crcOf(nth), style));
  }
  const start = end;
  frame((crcOf) => encodeTail(entries, start, crcOf, style));
  return { starts, frames, size: end };
}

/** Encodes the directory and the end. */
function encodeTail(
  entries: readonly StoredEntry[],
  offset: number,
  crcOf: (file: number) => number,
  style: ZipStyle,
): Uint8Array {
  const out = new ByteWriter();
  for (const [nth, entry] of entries.entries()) out.bytes(encodeCentral(entry, crcOf(nth), style));
  out.bytes(encodeEnd({ offset, size: out.length, count: entries.length }, style));
  return out.finish();
}
