import { fileErrors, type FileFail, type FormatError, shorten } from "../../errors.ts";
import {
  Alignment,
  IrpaEntryFields,
  EntryType,
  IrpaHeaderFields,
  MAX_SEGMENT_LENGTH,
  MAGIC,
  STRUCT_BYTES,
} from "./schema.ts";

/** The file of an archive. */
export interface IrpaFile {
  /** Names the file in errors. */
  readonly name: string;
  /** In bytes. */
  readonly size: number;
}

/** A range of an archive, in bytes. */
export interface IrpaSegment {
  readonly offset: number;
  readonly length: number;
}

/** The header of an archive: the places of its parts. */
export interface IrpaHeader {
  readonly entryCount: number;
  readonly entries: IrpaSegment;
  readonly metadata: IrpaSegment;
  readonly storage: IrpaSegment;
}

/** A parameter with bytes in the archive. */
export interface IrpaData {
  readonly kind: "data";
  readonly name: string;
  /** Free-form bytes of the writer. */
  readonly metadata: Uint8Array;
  /** Alignment that the writer asks for, in bytes. */
  readonly alignment: number;
  /** Bytes from the start of the archive. */
  readonly offset: number;
  readonly length: number;
}

/** A parameter that repeats one pattern. */
export interface IrpaSplat {
  readonly kind: "splat";
  readonly name: string;
  readonly metadata: Uint8Array;
  /** 1 to 16 bytes. */
  readonly pattern: Uint8Array;
  /** Bytes of all repetitions. */
  readonly length: number;
}

/** A parameter of an archive. */
export type IrpaEntry = IrpaData | IrpaSplat;

/**
 * Parses the header of an archive.
 * @param bytes the first 88 of the file, or all bytes of a shorter file
 * @throws FormatError `unknown-format`, `malformed`, `unsupported`, `too-large`
 */
export function parseIrpaHeader(bytes: Uint8Array, file: IrpaFile): IrpaHeader {
  const fail = fileErrors(file);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (view.byteLength >= 4 && view.getUint32(0, true) !== MAGIC) {
    throw fail("unknown-format", "it does not start with IRPA", { offset: 0 });
  }
  if (view.byteLength < STRUCT_BYTES.header) {
    throw fail("malformed", `it has ${view.byteLength} bytes, fewer than a header`, { offset: 0 });
  }
  const major = view.getUint16(IrpaHeaderFields.major, true);
  const minor = view.getUint16(IrpaHeaderFields.minor, true);
  if (major !== 0 || minor !== 0)
    throw fail("unsupported", `its version is ${major}.${minor}`, { offset: IrpaHeaderFields.major });
  const headerSize = view.getBigUint64(IrpaHeaderFields.headerSize, true);
  if (headerSize !== BigInt(STRUCT_BYTES.header)) {
    throw fail("malformed", `its header has a size of ${headerSize} bytes`, {
      offset: IrpaHeaderFields.headerSize,
    });
  }
  const next = view.getBigUint64(IrpaHeaderFields.next, true);
  if (next !== 0n)
    throw fail("unsupported", `it continues in another header at byte ${next}`, {
      offset: IrpaHeaderFields.next,
    });
  const segment = (at: number, what: string): IrpaSegment => segmentAt(view, at, file.size, what, fail);
  const entries = segment(IrpaHeaderFields.entries, "entry table");
  const metadata = segment(IrpaHeaderFields.metadata, "metadata");
  const storage = segment(IrpaHeaderFields.storage, "storage");
  for (const [what, { length }] of [
    ["entry table", entries],
    ["metadata", metadata],
  ] as const) {
    if (length > MAX_SEGMENT_LENGTH)
      throw fail("too-large", `its ${what} has ${length} bytes`, { offset: IrpaHeaderFields.entries });
  }
  const parts = [{ offset: 0, length: STRUCT_BYTES.header }, entries, metadata, storage];
  let end = 0;
  for (const part of parts.filter(({ length }) => length > 0).sort((a, b) => a.offset - b.offset)) {
    if (part.offset < end) throw fail("malformed", "its parts overlap", { offset: part.offset });
    end = part.offset + part.length;
  }
  const count = view.getBigUint64(IrpaHeaderFields.entryCount, true);
  if (count > BigInt(Math.floor(entries.length / STRUCT_BYTES.entry))) {
    throw fail("malformed", `${count} entries do not fit its entry table`, {
      offset: IrpaHeaderFields.entryCount,
    });
  }
  return { entryCount: Number(count), entries, metadata, storage };
}

/**
 * Parses the entries of an archive, in order, without those of the type "skip".
 * Refuses what IREE's own reader refuses, and duplicate names, partly overlapping data, and entries after the last.
 * @param table all bytes of `header.entries`
 * @param names all bytes of `header.metadata`
 * @throws FormatError `malformed`, `unsupported`, `duplicate`, `too-large`
 */
export function parseIrpaEntries(
  table: Uint8Array,
  names: Uint8Array,
  header: IrpaHeader,
  file: IrpaFile,
): IrpaEntry[] {
  const fail = fileErrors(file);
  const view = new DataView(table.buffer, table.byteOffset, table.byteLength);
  const seen = new Set<string>();
  const entries: IrpaEntry[] = [];
  let at = 0;
  let named = 0;
  for (let index = 0; index < header.entryCount; index++) {
    const where = header.entries.offset + at;
    const left = view.byteLength - at;
    const size =
      left < STRUCT_BYTES.entry ? Number.NaN : Number(view.getBigUint64(at + IrpaEntryFields.size, true));
    if (!(size >= STRUCT_BYTES.entry && size <= left)) {
      throw fail("malformed", `entry ${index} does not fit its entry table`, { offset: where });
    }
    const entryView = new DataView(view.buffer, view.byteOffset + at, size);
    // Overlapping names would let a small table hold any number of long ones.
    named += rangeAt(entryView, IrpaEntryFields.name).length;
    if (named > names.byteLength)
      throw fail("malformed", "its names are longer than its metadata", { offset: where });
    const entry = parseEntry(entryView, where, names, header, fail);
    at += Math.ceil(size / Alignment.entry) * Alignment.entry;
    if (!entry) continue;
    if (seen.has(entry.name))
      throw fail("duplicate", "it occurs twice", { offset: where, tensor: entry.name });
    seen.add(entry.name);
    entries.push(entry);
  }
  if (view.byteLength - at >= Alignment.entry) {
    const reason = `its entry table continues after its ${header.entryCount} entries`;
    throw fail("malformed", reason, { offset: header.entries.offset + at });
  }
  checkOverlaps(entries, fail);
  return entries;
}

function parseEntry(
  view: DataView,
  where: number,
  names: Uint8Array,
  header: IrpaHeader,
  fail: FileFail,
): IrpaEntry | undefined {
  const type = view.getUint32(IrpaEntryFields.type, true);
  if (type === EntryType.skip) return undefined;
  const resolve = (field: number, what: string): Uint8Array => {
    const { offset, length } = rangeAt(view, field);
    if (length === 0) return new Uint8Array();
    if (offset + length > names.byteLength) {
      throw fail("malformed", `the ${what} of an entry ends past the metadata`, { offset: where + field });
    }
    return names.subarray(offset, offset + length);
  };
  const name = decodeName(resolve(IrpaEntryFields.name, "name"), where, fail);
  const metadata = resolve(IrpaEntryFields.metadata, "metadata");
  const bad = (code: "malformed" | "unsupported" | "too-large", reason: string): FormatError =>
    fail(code, reason, { offset: where, tensor: name });
  if (type === EntryType.splat) {
    if (view.byteLength < STRUCT_BYTES.splat)
      throw bad("malformed", `its entry has ${view.byteLength} bytes`);
    const length = Number(view.getBigUint64(IrpaEntryFields.splatLength, true));
    if (!Number.isSafeInteger(length)) throw bad("too-large", "it has over 2^53 bytes");
    const patternLength = view.getUint8(IrpaEntryFields.patternLength);
    if (patternLength === 0 || patternLength > STRUCT_BYTES.pattern) {
      throw bad("malformed", `its pattern has ${patternLength} bytes`);
    }
    const start = view.byteOffset + IrpaEntryFields.pattern;
    return {
      kind: "splat",
      name,
      metadata,
      pattern: new Uint8Array(view.buffer, start, patternLength),
      length,
    };
  }
  if (type === EntryType.external) throw bad("unsupported", "its data is in another file (EXTERNAL)");
  if (type !== EntryType.data) throw bad("unsupported", `its entry is of type ${type}`);
  if (view.byteLength < STRUCT_BYTES.data) throw bad("malformed", `its entry has ${view.byteLength} bytes`);
  const { offset, length } = rangeAt(view, IrpaEntryFields.storage);
  if (length > 0 && offset + length > header.storage.length) {
    throw bad("malformed", `it ends at byte ${offset + length} of ${header.storage.length} of the storage`);
  }
  const alignment = Number(view.getBigUint64(IrpaEntryFields.alignment, true));
  const start = header.storage.offset + (length > 0 ? offset : 0);
  return { kind: "data", name, metadata, alignment, offset: start, length };
}

/** Two parameters may share one range. Partial overlaps would let a small file hold any number of large weights. */
function checkOverlaps(entries: readonly IrpaEntry[], fail: FileFail): void {
  const data = entries.filter((entry) => entry.kind === "data" && entry.length > 0) as IrpaData[];
  let before: IrpaData | undefined;
  for (const entry of data.sort((a, b) => a.offset - b.offset || a.length - b.length)) {
    const same = entry.offset === before?.offset && entry.length === before.length;
    if (before && !same && entry.offset < before.offset + before.length) {
      const reason = `it starts at byte ${entry.offset}, inside tensor "${shorten(before.name)}"`;
      throw fail("malformed", reason, { offset: entry.offset, tensor: entry.name });
    }
    before = entry;
  }
}

function segmentAt(view: DataView, at: number, size: number, what: string, fail: FileFail): IrpaSegment {
  const range = rangeAt(view, at);
  // An empty segment may have any offset.
  if (range.length === 0) return { offset: Math.min(range.offset, size), length: 0 };
  if (range.offset + range.length > size) {
    throw fail(
      "malformed",
      `its ${what} ends at byte ${range.offset + range.length}, past the end at ${size}`,
      { offset: at },
    );
  }
  return range;
}

/** Numbers over 2^53 are rounded, and remain past the end of every file. */
function rangeAt(view: DataView, at: number): IrpaSegment {
  return { offset: Number(view.getBigUint64(at, true)), length: Number(view.getBigUint64(at + 8, true)) };
}

function decodeName(bytes: Uint8Array, where: number, fail: FileFail): string {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw fail("malformed", "the name of an entry is not UTF-8", { offset: where });
  }
}
