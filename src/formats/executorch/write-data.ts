import { alignUp, bothAlignments } from "../../io/align.ts";
import { FlatbufferWriter } from "../../encodings/flatbuffer/writer.ts";
import { type ErrorCode, type ErrorDetails, FormatError, operationError, shorten } from "../../errors.ts";
import { elementCount } from "../../tensor/dtype.ts";
import type { ParsedData } from "./parse-data.ts";
import { DATA_HEADER, DATA_IDENTIFIER, SCALAR_TYPES } from "./schema.ts";

/** Alignment of segments, in bytes. */
const SEGMENT_ALIGNMENT = 128;
/** Size of the padded header, and its length, in bytes, as in ExecuTorch's Python writer: the tables stay aligned. */
const HEADER_SIZE = 48;
const HEADER_LENGTH = 40;

/** The layout of a key's bytes. */
export interface DataLayoutSpec {
  /** ExecuTorch's number of the type. */
  readonly type: number;
  readonly sizes: readonly number[];
  /** The dimensions from the outermost to the innermost. */
  readonly dimOrder: readonly number[];
}

/** A segment to write. */
export interface DataSegmentSpec {
  /** In bytes. */
  readonly length: number;
  /** Alignment in bytes that its consumer needs; 1 by default, and at least 128 applies anyway. */
  readonly alignment?: number | undefined;
}

/** A data file to write. */
export interface DataFileSpec {
  readonly segments: readonly DataSegmentSpec[];
  /** Keys in the order of the file; several may share a segment. */
  readonly named: readonly {
    readonly key: string;
    readonly segment: number;
    readonly layout?: DataLayoutSpec | undefined;
  }[];
}

/** The bytes before the segments, and the segments' places. */
export interface EncodedDataHeader {
  /** All bytes before the first segment. */
  readonly bytes: Uint8Array;
  /** In bytes from the start of the file; the bytes between segments are zeros. */
  readonly segments: readonly { readonly offset: number; readonly length: number }[];
  /** Size of the whole file, in bytes. */
  readonly size: number;
}

/**
 * Encodes the header and the tables of a data file (.ptd), byte for byte as ExecuTorch's Python writer. Source:
 * extension/flat_tensor/serialize/serialize.py of ExecuTorch 1.5, and flatc's order of tables.
 * @throws FormatError `duplicate`, `size-mismatch`, `too-large`, `malformed`
 */
export function encodeDataHeader({ segments, named }: DataFileSpec): EncodedDataHeader {
  let end = 0;
  const offsets = segments.map(({ length, alignment = 1 }) => {
    if (!Number.isSafeInteger(bothAlignments(SEGMENT_ALIGNMENT, alignment)) || alignment < 1) {
      throw cannotEncode("malformed", `an alignment of ${alignment}`);
    }
    const offset = alignUp(end, bothAlignments(SEGMENT_ALIGNMENT, alignment));
    end = offset + length;
    if (!Number.isSafeInteger(end) || length < 0)
      throw cannotEncode("too-large", `${length} bytes in a segment`);
    return offset;
  });
  checkNamed(segments, named);
  const tables = encodeTables({ segments, named }, offsets);
  const base = alignUp(tables.byteLength + HEADER_SIZE, SEGMENT_ALIGNMENT);
  const bytes = new Uint8Array(base);
  const view = new DataView(bytes.buffer);
  const old = new DataView(tables.buffer, tables.byteOffset, tables.byteLength);
  view.setUint32(0, old.getUint32(0, true) + HEADER_SIZE, true);
  bytes.set(tables.subarray(4, 8), 4);
  bytes.set(new TextEncoder().encode(DATA_HEADER), 8);
  view.setUint32(12, HEADER_LENGTH, true);
  view.setBigUint64(16, BigInt(HEADER_SIZE), true);
  view.setBigUint64(24, BigInt(tables.byteLength), true);
  view.setBigUint64(32, BigInt(base), true);
  view.setBigUint64(40, BigInt(end), true);
  bytes.set(tables.subarray(8), 8 + HEADER_SIZE);
  return {
    bytes,
    segments: segments.map(({ length }, nth) => ({ offset: base + (offsets[nth] as number), length })),
    size: base + end,
  };
}

/**
 * The specification that gives a data file again, with the smallest alignments for its offsets.
 * @throws FormatError `unsupported` for a file whose segments have another layout
 */
export function dataFileSpec(data: ParsedData): DataFileSpec {
  const base = data.segments[0]?.offset ?? 0;
  let end = 0;
  const segments = data.segments.map(({ offset, length }, nth): DataSegmentSpec => {
    const at = offset - base;
    let alignment = SEGMENT_ALIGNMENT;
    while (alignment < at && alignUp(end, alignment) < at) alignment *= 2;
    // Alignments need not be powers of two: any offset is a multiple of itself.
    if (alignUp(end, alignment) !== at) alignment = at;
    if (end > at || at % SEGMENT_ALIGNMENT !== 0) {
      throw cannotEncode(
        "unsupported",
        `segment ${nth} at byte ${at} of the data, where no alignment puts it`,
      );
    }
    end = at + length;
    return { length, alignment: alignment === SEGMENT_ALIGNMENT ? 1 : alignment };
  });
  return { segments, named: data.named };
}

function checkNamed(segments: readonly DataSegmentSpec[], named: DataFileSpec["named"]): void {
  const keys = new Set<string>();
  for (const { key, segment, layout } of named) {
    if (keys.has(key)) throw cannotEncode("duplicate", `two weights "${shorten(key)}"`, { tensor: key });
    keys.add(key);
    const length = segments[segment]?.length;
    if (length === undefined)
      throw cannotEncode("malformed", `"${shorten(key)}" in segment ${segment}`, { tensor: key });
    const width = layout && SCALAR_TYPES.get(layout.type)?.width;
    if (!layout || width === undefined) continue;
    const wanted = (elementCount(layout.sizes) ?? Number.NaN) * width;
    if (wanted !== length) {
      const what = `"${shorten(key)}" of ${length} bytes: [${layout.sizes.join(", ")}] of scalar type ${layout.type}`;
      throw cannotEncode("size-mismatch", `${what} takes ${wanted}`, { tensor: key });
    }
  }
}

/** Encodes the tables in flatc's order for JSON: contents before their table, last field first. */
function encodeTables({ segments, named }: DataFileSpec, offsets: readonly number[]): Uint8Array {
  const writer = new FlatbufferWriter();
  const segmentTables = segments.map(({ length }, nth) =>
    writer.table([
      { width: 8, value: BigInt(offsets[nth] as number) },
      { width: 8, value: BigInt(length) },
    ]),
  );
  const segmentVector = writer.offsets(segmentTables);
  const namedTables = named.map(({ key, segment, layout }) => {
    const text = writer.string(key);
    const described = layout && encodeLayout(writer, layout);
    return writer.table([{ offset: text }, { width: 4, value: BigInt(segment) }, { offset: described }]);
  });
  const namedVector = writer.offsets(namedTables);
  const root = writer.table([{ width: 4, value: 0n }, { offset: segmentVector }, { offset: namedVector }]);
  return writer.finish(root, DATA_IDENTIFIER);
}

function encodeLayout(writer: FlatbufferWriter, { type, sizes, dimOrder }: DataLayoutSpec): number {
  const sizeVector = writer.numbers(sizes, 4);
  const orderVector = writer.numbers(dimOrder, 1);
  return writer.table([{ width: 1, value: BigInt(type) }, { offset: sizeVector }, { offset: orderVector }]);
}

function cannotEncode(code: ErrorCode, what: string, details: ErrorDetails = {}): FormatError {
  return operationError(FormatError, { ...details, code, doing: `write a data file with ${what}` });
}
