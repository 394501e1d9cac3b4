import type { ByteSource, ReadOptions } from "../../io/byte-source.ts";
import { fileErrors, type FormatError } from "../../errors.ts";
import { CUT_OFF } from "../failure.ts";
import {
  BEFORE_HEADER,
  DATA_LETTERS,
  PROGRAM_LETTERS,
  DATA_HEADER,
  DATA_IDENTIFIER,
  PROGRAM_HEADER,
  PROGRAM_IDENTIFIER,
} from "./schema.ts";

/** Length of the first read, in bytes: covers either header. */
const WINDOW = 64;
/** Lengths of the shortest program header, of one with the size of the segments, and of a data header, in bytes. */
const PROGRAM_LENGTH = 24;
const LONG_PROGRAM_LENGTH = 32;
const DATA_LENGTH = 40;

/** The parts of a file: tables, then segments. All in bytes. */
export interface FileExtent {
  /** End of the tables, which start at 0. */
  readonly tables: number;
  /** Start of the segments; `undefined` if there are none. */
  readonly base: number | undefined;
  /** Upper bound for the end of the segments. */
  readonly end: number;
}

/**
 * Reads the header of a program (.pte). A program without segments has no header: all of it is tables.
 * @throws FormatError `unknown-format`, `unsupported`, `malformed`; `size-mismatch` for a file that is cut off
 */
export async function readProgramHeader(source: ByteSource, options: ReadOptions): Promise<FileExtent> {
  const view = await start(source, PROGRAM_IDENTIFIER, PROGRAM_LETTERS, options);
  if (letters(view, BEFORE_HEADER) !== PROGRAM_HEADER) {
    return { tables: source.size, base: undefined, end: source.size };
  }
  const length = need(source, view, PROGRAM_LENGTH);
  const tables = within(source, view, 16, "its program");
  const base = within(source, view, 24, "the part before its segments");
  // Zero if there are no segments. Older writers have no size.
  const size = length < LONG_PROGRAM_LENGTH ? 0n : need64(source, view, 32);
  return extentOf(source, tables, base, size);
}

/**
 * Reads the header of a data file (.ptd).
 * @throws FormatError `unknown-format`, `unsupported`, `malformed`; `size-mismatch` for a file that is cut off
 */
export async function readDataHeader(source: ByteSource, options: ReadOptions): Promise<FileExtent> {
  const view = await start(source, DATA_IDENTIFIER, DATA_LETTERS, options);
  const fail = fileErrors(source);
  if (letters(view, BEFORE_HEADER) !== DATA_HEADER) {
    throw fail("malformed", `its header does not start with ${DATA_HEADER}`, { offset: BEFORE_HEADER });
  }
  need(source, view, DATA_LENGTH);
  const offset = need64(source, view, 16);
  const size = need64(source, view, 24);
  const tables = offset + size;
  if (tables > BigInt(source.size)) throw pastEnd(source, "its list of weights", tables, 16);
  const base = within(source, view, 32, "the part before its segments");
  return extentOf(source, Number(tables), base, need64(source, view, 40));
}

function extentOf(source: ByteSource, tables: number, base: number, size: bigint): FileExtent {
  if (base === 0) {
    if (size > 0n)
      throw fileErrors(source)("malformed", `its ${size} bytes of segments have no start`, { offset: 24 });
    return { tables, base: undefined, end: source.size };
  }
  if (base < tables) {
    throw fileErrors(source)(
      "malformed",
      `its segments start at ${base}, before its tables end at ${tables}`,
    );
  }
  const end = BigInt(base) + size;
  if (end > BigInt(source.size)) throw pastEnd(source, "its last segment", end);
  return { tables, base, end: size === 0n ? source.size : Number(end) };
}

/** Reads the start of a file, and checks its identifier. */
async function start(
  source: ByteSource,
  identifier: string,
  kind: string,
  options: ReadOptions,
): Promise<DataView> {
  const fail = fileErrors(source);
  const bytes = await source.read(0, Math.min(WINDOW, source.size), options);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const found = letters(view, 4);
  if (found === identifier) return view;
  if (found?.startsWith(kind)) {
    throw fail("unsupported", `it is of version "${found}", tare reads ${identifier}`, { offset: 4 });
  }
  throw fail("unknown-format", `it has no ${identifier} at byte 4`, {
    offset: 4,
    hint: "Is this an ExecuTorch file?",
  });
}

function letters(view: DataView, at: number): string | undefined {
  if (view.byteLength < at + 4) return undefined;
  return String.fromCharCode(...new Uint8Array(view.buffer, view.byteOffset + at, 4));
}

/** Checks that the header has at least so many bytes, inside the file. @returns its length */
function need(source: ByteSource, view: DataView, least: number): number {
  const fail = fileErrors(source);
  const length = view.byteLength < 16 ? 0 : view.getUint32(12, true);
  if (view.byteLength < 16 || BEFORE_HEADER + length > source.size) {
    throw fail("size-mismatch", "it ends within its header", { offset: 12, hint: CUT_OFF });
  }
  if (length >= least) return length;
  throw fail("malformed", `its header has ${length} bytes, fewer than ${least}`, { offset: 12 });
}

function need64(source: ByteSource, view: DataView, at: number): bigint {
  if (view.byteLength >= at + 8) return view.getBigUint64(at, true);
  throw fileErrors(source)("size-mismatch", "it ends within its header", { offset: at, hint: CUT_OFF });
}

/** Reads an offset, which must be inside the file. */
function within(source: ByteSource, view: DataView, at: number, what: string): number {
  const end = need64(source, view, at);
  if (end > BigInt(source.size)) throw pastEnd(source, what, end, at);
  return Number(end);
}

function pastEnd(source: ByteSource, what: string, end: bigint, at?: number): FormatError {
  return fileErrors(source)(
    "size-mismatch",
    `${what} ends at byte ${end}, past the end of the file at ${source.size}`,
    { offset: at, hint: CUT_OFF },
  );
}
