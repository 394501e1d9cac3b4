import { alignUp } from "../../io/align.ts";
import type { FileExtent } from "./header.ts";
import type { SegmentRange } from "./segments.ts";

/** Smallest alignment of segments, and the largest to detect, in bytes. */
const MIN_ALIGNMENT = 128;
const MAX_ALIGNMENT = 64 * 1024;

/** A range of a file, and its place. */
export interface ExecutorchPiece {
  /** Bytes from the start of the segment or file that it is a piece of. */
  readonly offset: number;
  readonly from: SegmentRange;
  /** Index of the file: 0 for the program, then the data files. */
  readonly file: number;
}

/** The content of a segment; bytes between its pieces are zeros. */
export interface SegmentContent {
  /** In bytes; at least 128 applies anyway, as in ExecuTorch's exporter. */
  readonly alignment: number;
  /** In bytes. */
  readonly length: number;
  /** In order. */
  readonly pieces: readonly ExecutorchPiece[];
}

/** The places of segments. */
export interface PlacedSegments {
  /** Bytes from the start of the first segment. */
  readonly offsets: readonly number[];
  readonly pieces: readonly ExecutorchPiece[];
  /** Length of all segments, in bytes. */
  readonly length: number;
}

/** Lays segments out one after another, as ExecuTorch's exporter does. */
export function placeSegments(segments: readonly SegmentContent[]): PlacedSegments {
  const pieces: ExecutorchPiece[] = [];
  let end = 0;
  const offsets = segments.map(({ alignment, length, pieces: own }) => {
    const offset = alignUp(end, Math.max(alignment, MIN_ALIGNMENT));
    for (const piece of own) pieces.push({ ...piece, offset: offset + piece.offset });
    end = offset + length;
    return offset;
  });
  return { offsets, pieces, length: end };
}

/** Alignments of a file's segments, detected by their places, in bytes. */
export interface Alignments {
  /** Alignment of the first segment in the file. */
  readonly base: number;
  /** Alignment of each segment, relative to the first. */
  readonly each: readonly number[];
}

/**
 * Detects alignments of segments: more than the usual one only if the padding is larger than it needs.
 * @param extent the end of the tables, and the start of the segments
 */
export function alignmentsOf(
  { base = 0, tables }: Pick<FileExtent, "base" | "tables">,
  segments: readonly SegmentRange[],
): Alignments {
  let end = 0;
  const gaps = segments.map(({ offset, length }) => {
    if (length === 0) return 0;
    const gap = offset - base - end;
    end = offset - base + length;
    return gap;
  });
  const places = segments.filter(({ length }) => length > 0).map(({ offset }) => offset - base);
  const padded = base - tables >= MIN_ALIGNMENT || gaps.some((gap) => gap >= MIN_ALIGNMENT);
  const all = padded ? alignmentOf([base, ...places]) : MIN_ALIGNMENT;
  return {
    base: all,
    each: segments.map(({ offset }, nth) =>
      (gaps[nth] as number) >= all ? alignmentOf([offset - base]) : all,
    ),
  };
}

/** The largest alignment that all offsets have. */
function alignmentOf(offsets: readonly number[]): number {
  let alignment = MIN_ALIGNMENT;
  const fits = (offset: number): boolean => offset % (alignment * 2) === 0;
  while (alignment < MAX_ALIGNMENT && offsets.every(fits)) alignment *= 2;
  return alignment;
}
