import { alignUp } from "../../io/align.ts";
import type { FileExtent } from "./header.ts";
import type { SegmentRange } from "./segments.ts";

/** What segments are aligned to, at least, and at most as far as old offsets tell. In bytes. */
const MIN_ALIGNMENT = 128;
const MAX_ALIGNMENT = 64 * 1024;

/** A range of a file, and where it goes. */
export interface ExecutorchPiece {
  /** In bytes from the start of what it is a piece of. */
  readonly offset: number;
  readonly from: SegmentRange;
  /** Which file: 0 is the program, the data files follow. */
  readonly file: number;
}

/** What is in a segment; bytes between its pieces are zeros. */
export interface SegmentContent {
  /** In bytes; 128 at least is had anyway, as ExecuTorch's exporter does. */
  readonly alignment: number;
  /** In bytes. */
  readonly length: number;
  /** In their order. */
  readonly pieces: readonly ExecutorchPiece[];
}

/** Where segments go. */
export interface PlacedSegments {
  /** In bytes from the first segment. */
  readonly offsets: readonly number[];
  readonly pieces: readonly ExecutorchPiece[];
  /** Of all segments, in bytes. */
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

/** What the segments of a file are aligned to, as far as their places tell. In bytes. */
export interface Alignments {
  /** Of the first segment in the file. */
  readonly base: number;
  /** Of each segment, from the first. */
  readonly each: readonly number[];
}

/**
 * Tells what segments were aligned to: more than usual only where there is more padding than that takes.
 * @param extent where they start, and what is before them ends
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

/** What all these are multiples of. */
function alignmentOf(offsets: readonly number[]): number {
  let alignment = MIN_ALIGNMENT;
  const fits = (offset: number): boolean => offset % (alignment * 2) === 0;
  while (alignment < MAX_ALIGNMENT && offsets.every(fits)) alignment *= 2;
  return alignment;
}
