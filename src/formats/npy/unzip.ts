import { inflateSync } from "fflate";
import { type ErrorCode, FormatError } from "../../errors.ts";
import { crc32 } from "./crc32.ts";

/** One file of an archive. */
export interface ZipEntry {
  readonly name: string;
  /** A view of the archive where the entry is stored uncompressed. */
  readonly bytes: Uint8Array;
  /** Where the entry's data starts in the archive, in bytes. */
  readonly start: number;
  /** Whether an offset in {@link bytes} is one in the archive, after {@link start}. */
  readonly stored: boolean;
}

/** Inputs and outputs of a run, not models: what an archive may unpack to, over all its entries, in bytes. */
const LARGEST = 2 ** 31;
/** Deflate spends at least two bits on 258 bytes (zlib, "Maximum Compression Factor"). */
const STEEPEST = 1032;
const Signature = { end: 0x06054b50, central: 0x02014b50, local: 0x04034b50 } as const;
const Size = { end: 22, central: 46, local: 30, comment: 65_535 } as const;
const Method = { stored: 0, deflated: 8 } as const;

interface Directory {
  readonly offset: number;
  readonly size: number;
  readonly count: number;
}

interface Listed {
  readonly name: string;
  readonly method: number;
  readonly crc: number;
  /** Bytes in the archive. */
  readonly packed: number;
  /** Bytes unpacked. */
  readonly size: number;
  /** Where the local header lies. */
  readonly local: number;
}

/**
 * Unpacks a zip archive of tensors, after the sizes that its directory declares were checked.
 * Source: APPNOTE.TXT 6.3.10, sections 4.3 and 4.4. Zip64, encryption and archives in parts are refused.
 * @throws FormatError `unknown-format`, `malformed`, `unsupported`, `duplicate`, `corrupted`; `too-large` where
 * the entries would unpack to over 2 GiB
 */
export function unzip(bytes: Uint8Array, path: string): ZipEntry[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const fail = (code: ErrorCode, reason: string, offset: number): FormatError =>
    new FormatError(code, `Cannot read "${path}" at byte ${offset}: ${reason}`, { path, offset });
  const directory = findDirectory(view, fail);
  const listed = readDirectory(bytes, view, directory, fail);
  const total = listed.reduce((sum, entry) => sum + entry.size, 0);
  if (total > LARGEST) throw fail("too-large", `its entries unpack to ${total} bytes`, directory.offset);
  return listed.map((entry) => readEntry(bytes, view, entry, directory.offset, fail));
}

type Fail = (code: ErrorCode, reason: string, offset: number) => FormatError;

/** Reads the record at the archive's end; it is followed by nothing but its own comment. */
function findDirectory(view: DataView, fail: Fail): Directory {
  const last = view.byteLength - Size.end;
  for (let at = last; at >= 0 && at >= last - Size.comment; at--) {
    if (view.getUint32(at, true) !== Signature.end || view.getUint16(at + 20, true) !== last - at) continue;
    const count = view.getUint16(at + 10, true);
    const size = view.getUint32(at + 12, true);
    const offset = view.getUint32(at + 16, true);
    // The disk this is, the disk the directory starts on, and how much of the directory is on it.
    if (view.getUint32(at + 4, true) !== 0 || view.getUint16(at + 8, true) !== count) {
      throw fail("unsupported", "the archive is in several parts", at);
    }
    if (count === 0xffff || size === 0xffffffff || offset === 0xffffffff) {
      throw fail("unsupported", "the archive is a zip64 one", at);
    }
    if (offset + size !== at) throw fail("malformed", "its directory is not where its end says", at);
    return { offset, size, count };
  }
  throw fail("unknown-format", "it does not end as a zip archive does", view.byteLength);
}

function readDirectory(bytes: Uint8Array, view: DataView, directory: Directory, fail: Fail): Listed[] {
  const end = directory.offset + directory.size;
  const names = new Set<string>();
  const listed: Listed[] = [];
  let at = directory.offset;
  for (let index = 0; index < directory.count; index++) {
    if (at + Size.central > end || view.getUint32(at, true) !== Signature.central) {
      throw fail("malformed", `entry ${index} of its directory is not there`, at);
    }
    const nameEnd = at + Size.central + view.getUint16(at + 28, true);
    const next = nameEnd + view.getUint16(at + 30, true) + view.getUint16(at + 32, true);
    if (next > end) throw fail("malformed", `entry ${index} of its directory is cut off`, at);
    const entry: Listed = {
      name: decodeName(bytes.subarray(at + Size.central, nameEnd), at, fail),
      method: view.getUint16(at + 10, true),
      crc: view.getUint32(at + 16, true),
      packed: view.getUint32(at + 20, true),
      size: view.getUint32(at + 24, true),
      local: view.getUint32(at + 42, true),
    };
    checkListed(entry, view.getUint16(at + 8, true), at, fail);
    if (names.has(entry.name)) throw fail("duplicate", `it has "${entry.name}" twice`, at);
    names.add(entry.name);
    listed.push(entry);
    at = next;
  }
  if (at !== end) throw fail("malformed", "its directory is longer than its entries", at);
  return listed;
}

function checkListed(
  { name, method, packed, size, local }: Listed,
  flags: number,
  at: number,
  fail: Fail,
): void {
  if (flags & 1) throw fail("unsupported", `"${name}" is encrypted`, at);
  if (packed === 0xffffffff || size === 0xffffffff || local === 0xffffffff) {
    throw fail("unsupported", `"${name}" is a zip64 entry`, at);
  }
  if (method !== Method.stored && method !== Method.deflated) {
    throw fail("unsupported", `"${name}" is compressed by method ${method}`, at);
  }
  const possible = method === Method.stored ? size === packed : size <= packed * STEEPEST;
  if (!possible) throw fail("malformed", `"${name}" cannot unpack from ${packed} bytes to ${size}`, at);
}

/** Names are ASCII or UTF-8, whether flagged so or not: tools that write other code pages do not write tensors. */
function decodeName(bytes: Uint8Array, at: number, fail: Fail): string {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw fail("malformed", "an entry's name is not UTF-8", at);
  }
}

function readEntry(bytes: Uint8Array, view: DataView, entry: Listed, limit: number, fail: Fail): ZipEntry {
  const { name, method, packed, size, local } = entry;
  if (local + Size.local > limit || view.getUint32(local, true) !== Signature.local) {
    throw fail("malformed", `"${name}" is not where the directory says`, local);
  }
  // Sizes are the directory's: NumPy leaves those here to a zip64 field, and streams to a record behind the data.
  const start = local + Size.local + view.getUint16(local + 26, true) + view.getUint16(local + 28, true);
  if (start + packed > limit) throw fail("malformed", `"${name}" runs into the directory`, local);
  const data = bytes.subarray(start, start + packed);
  const stored = method === Method.stored;
  const unpacked = stored ? data : inflate(data, size, name, start, fail);
  if (crc32(unpacked) !== entry.crc) throw fail("corrupted", `"${name}" does not have its checksum`, start);
  return { name, bytes: unpacked, start, stored };
}

function inflate(data: Uint8Array, size: number, name: string, at: number, fail: Fail): Uint8Array {
  let out: Uint8Array;
  try {
    // A byte more than declared shows whether there was more; fflate never writes past what it is given.
    out = inflateSync(data, { out: new Uint8Array(size + 1) });
  } catch (cause) {
    throw fail("malformed", `"${name}" does not unpack (${(cause as Error).message})`, at);
  }
  if (out.byteLength !== size) throw fail("malformed", `"${name}" does not unpack to ${size} bytes`, at);
  return out;
}
