import { alignUp } from "../../io/align.ts";
import type { ByteSource, ReadOptions } from "../../io/byte-source.ts";
import { parsePages } from "../../encodings/flatbuffer/pages.ts";
import { rewriteFlatbuffer, type TableEdits, type WriteField } from "../../encodings/flatbuffer/rewrite.ts";
import { Flatbuffer, type FlatTable } from "../../encodings/flatbuffer/table.ts";
import type { FlatbufferStyle, FlatField } from "../../encodings/flatbuffer/writer.ts";
import { type ErrorCode, type ErrorDetails, FormatError, operationError } from "../../errors.ts";
import { type FileExtent, readProgramHeader } from "./header.ts";
import { type ParsedProgram, parseProgram } from "./parse-program.ts";
import { alignmentsOf, type ExecutorchPiece, placeSegments, type SegmentContent } from "./place-segments.ts";
import { namedTable, programTable } from "./program-tables.ts";
import {
  BEFORE_HEADER,
  DOUBLE_KIND,
  INT_KIND,
  PlanFields,
  ProgramFields,
  PROGRAM_HEADER,
  SegmentFields,
  SubsegmentsFields,
  ValueFields,
} from "./schema.ts";

/** Largest tables to rewrite, in bytes, since that happens in memory. Larger ones hold data inline. */
const MAX_TABLE_BYTES = 32 * 1024 * 1024;
/** Length of the header, and its alignment unless tables are aligned to more, in bytes. */
const HEADER_LENGTH = 32;
const HEADER_ALIGNMENT = 16;

/** A program to edit. */
export interface OpenProgram {
  readonly name: string;
  readonly buffer: Flatbuffer;
  readonly extent: FileExtent;
  readonly program: ParsedProgram;
  /** The segment of the constants; `undefined` if they are in the tables, or there are none. */
  readonly constantSegment: number | undefined;
}

/** Changes to a program. */
export interface ProgramEdits {
  readonly tensors: TableEdits;
  /** All segments, the existing ones first and in their order. */
  readonly segments: readonly SegmentContent[];
  /** Start of each constant in their segment; unchanged if left out. */
  readonly constants?: { readonly segment: number; readonly offsets: readonly bigint[] } | undefined;
  /** Named data: existing entries by their index, and new ones; unchanged if left out. */
  readonly named?: readonly (number | { readonly key: string; readonly segment: number })[] | undefined;
}

/** A program to write. */
export interface EditedProgram {
  /** All bytes before the first segment. */
  readonly header: Uint8Array;
  /** Ranges of files with their places in the program; all other bytes are zeros. */
  readonly pieces: readonly ExecutorchPiece[];
  /** Size of the new program, in bytes. */
  readonly size: number;
}

/**
 * Parses a program for editing. Reads tables only.
 * @param edit a pure function, which may run several times
 * @throws FormatError what reading and `edit` throw; `unsupported` for programs with very large tables
 */
export async function openProgram<T>(
  source: ByteSource,
  edit: (program: OpenProgram) => T,
  options: ReadOptions,
): Promise<T> {
  const extent = await readProgramHeader(source, options);
  return parsePages(
    source,
    extent.tables,
    (pages) => {
      const program = parseProgram(pages, extent);
      if (extent.tables > MAX_TABLE_BYTES) {
        const reason = `its tables have ${extent.tables} bytes: they hold more than tables`;
        throw cannotMove(source, "unsupported", reason, { hint: NEWER });
      }
      const buffer = new Flatbuffer(pages);
      const root = buffer.root();
      const constants = root.table(ProgramFields.constantSegment);
      const inSegment = constants && (constants.vector(SubsegmentsFields.offsets, 8)?.count ?? 0) > 0;
      const constantSegment = inSegment ? constants.uint32(SubsegmentsFields.segment) : undefined;
      return edit({ name: source.name, buffer, extent, program, constantSegment });
    },
    options,
  );
}

/**
 * The segments of a program, unchanged.
 * @throws FormatError `unsupported` for segments that are out of order, or overlap
 */
export function segmentsOf({ name, extent, program }: OpenProgram): SegmentContent[] {
  const { each } = alignmentsOf(extent, program.segments);
  let before = 0;
  return program.segments.map((from, nth) => {
    const { offset, length } = from;
    if (length > 0 && offset < before) {
      throw cannotMove({ name }, "unsupported", `segment ${nth} overlaps another`, { offset });
    }
    before = Math.max(before, offset + length);
    const pieces = length > 0 ? [{ offset: 0, from, file: 0 }] : [];
    return { alignment: each[nth] as number, length, pieces };
  });
}

/**
 * Lays out an edited program in the style of the tool that wrote it, byte for byte as ExecuTorch's exporter.
 * @throws FormatError `unsupported` for unknown fields, which would be lost; `too-large`
 */
export function editProgram({ buffer, extent, program }: OpenProgram, edits: ProgramEdits): EditedProgram {
  const { tensors, segments, constants, named } = edits;
  const placed = placeSegments(segments);
  const root = buffer.root();
  const fields = new Map<number, WriteField>();
  if (segments.length > 0 || root.vector(ProgramFields.segments, 4)) {
    fields.set(ProgramFields.segments, (writer) => ({
      offset: writer.offsets(
        segments.map(({ length }, nth) => writer.table([long(placed.offsets[nth] as number), long(length)])),
      ),
    }));
  }
  if (constants) {
    // If constants are in a segment, none may be in the tables.
    if (root.vector(ProgramFields.constantBuffer, 4)) {
      fields.set(ProgramFields.constantBuffer, (writer) => ({ offset: writer.offsets([]) }));
    }
    fields.set(ProgramFields.constantSegment, (writer) => {
      const offsets = writer.numbers(constants.offsets, 8);
      return { offset: writer.table([int(constants.segment), { offset: offsets }]) };
    });
  }
  if (named) {
    const old = [...root.tables(ProgramFields.namedData)];
    fields.set(ProgramFields.namedData, (writer, copy) => ({
      offset: writer.offsets(
        named.map((entry) => {
          if (typeof entry === "number") return copy(old[entry] as FlatTable, namedTable);
          return writer.table([{ offset: writer.string(entry.key) }, int(entry.segment)]);
        }),
      ),
    }));
  }
  const changes = new Map([...tensors, [root.at, fields]]);
  const style = { ...styleOf(root), longest: 2 * MAX_TABLE_BYTES };
  const { bytes, alignment } = rewriteFlatbuffer(buffer, programTable, changes, style);
  if (placed.length === 0) return { header: bytes, pieces: [], size: bytes.byteLength };
  const headerLength = alignUp(HEADER_LENGTH, Math.max(HEADER_ALIGNMENT, alignment));
  const end = headerLength + bytes.byteLength;
  const base = alignUp(end, alignmentsOf(extent, program.segments).base);
  const header = new Uint8Array(base);
  header.set(bytes.subarray(0, BEFORE_HEADER));
  header.set(new TextEncoder().encode(PROGRAM_HEADER), BEFORE_HEADER);
  header.set(bytes.subarray(BEFORE_HEADER), BEFORE_HEADER + headerLength);
  const view = new DataView(header.buffer);
  view.setUint32(0, view.getUint32(0, true) + headerLength, true);
  view.setUint32(12, HEADER_LENGTH, true);
  view.setBigUint64(16, BigInt(end), true);
  view.setBigUint64(24, BigInt(base), true);
  view.setBigUint64(32, BigInt(placed.length), true);
  const pieces = placed.pieces.map((piece) => ({ ...piece, offset: base + piece.offset }));
  return { header, pieces, size: base + placed.length };
}

/**
 * Detects the tool that wrote the tables, by the order of a value's kind (one byte) and the value (four bytes), and by
 * numbers of eight bytes past a table's declared end.
 */
function styleOf(root: FlatTable): FlatbufferStyle {
  let order: FlatbufferStyle["order"];
  let sizeless = [...root.tables(ProgramFields.segments)].some(
    (each) => isPast(each, SegmentFields.offset) || isPast(each, SegmentFields.size),
  );
  for (const plan of root.tables(ProgramFields.plans)) {
    for (const value of plan.tables(PlanFields.values)) {
      const [kind, it] = [value.position(ValueFields.kind, 1), value.position(ValueFields.value, 4)];
      if (kind === undefined || it === undefined) continue;
      order ??= kind < it ? "width" : "number";
      if (sizeless || order === "width") return { order, sizeless };
      const number =
        [INT_KIND, DOUBLE_KIND].includes(value.int8(ValueFields.kind)) && value.table(ValueFields.value);
      if (number && isPast(number, 0)) sizeless = true;
    }
  }
  return { order: order ?? "number", sizeless };
}

function isPast(table: FlatTable, field: number): boolean {
  const at = table.position(field, 8);
  return at !== undefined && at + 8 > table.at + table.size;
}

/** Whole numbers of a table, of 32 and 64 bits. */
const int = (value: number): FlatField => ({ width: 4, value: BigInt(value) });
const long = (value: number): FlatField => ({ width: 8, value: BigInt(value) });

/** Makes the error for weights that cannot be moved into or out of a program. */
export function cannotMove(
  { name: path }: { readonly name: string },
  code: ErrorCode,
  reason: string,
  details: ErrorDetails = {},
): FormatError {
  return operationError(FormatError, { ...details, code, doing: `move weights of "${path}"`, reason, path });
}

/** What to do about a program of an older version. */
export const NEWER = "Export it again with a current ExecuTorch";
