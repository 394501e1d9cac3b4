import { alignUp } from "../../bytes/align.ts";
import { FormatError } from "../../errors.ts";
import type { Extent } from "./header.ts";
import type { Bytes, ParsedProgram } from "./parse-program.ts";

/** What segments are aligned to, at least, and at most as far as old offsets tell. */
const LEAST_ALIGNMENT = 128;
const MOST_ALIGNMENT = 64 * 1024;

/** Which constants go, and which some tensor still needs. */
export interface MovedConstants {
  readonly moved: ReadonlySet<number>;
  /** With how many bytes of it they need. */
  readonly kept: ReadonlyMap<number, number>;
}

/** Where a segment goes. */
export interface NewSegment {
  /** In bytes from the first segment. */
  readonly offset: number;
  readonly length: number;
}

/** The layout of a program that some of its data left. */
export interface NewLayout {
  /** Room for everything up to the first segment, zeros. */
  readonly head: Uint8Array;
  readonly segments: readonly NewSegment[];
  readonly pieces: readonly { readonly offset: number; readonly from: Bytes }[];
  /** Of the file, in bytes. */
  readonly size: number;
  /** Where each constant starts in its segment. */
  readonly constantOffsets: readonly bigint[];
}

/**
 * Lays segments out anew: in their order, each as it was but for constants that go, and empty where all of it goes.
 * @param gone indices of segments that go as a whole
 * @param end of the tables, in bytes
 */
export function layOut(
  { base: oldBase = 0 }: Extent,
  { segments: old, constants }: ParsedProgram,
  moved: MovedConstants,
  gone: ReadonlySet<number>,
  end: number,
): NewLayout {
  const base = alignUp(end, LEAST_ALIGNMENT);
  const constantSegment = constants.length > 1 ? segmentOf(old, constants) : -1;
  if (constantSegment < 0 && moved.moved.size > 0) {
    throw new FormatError(
      "unsupported",
      "Cannot move weights to data files: the constants are in the tables",
      {
        hint: "Export the program again with a current ExecuTorch",
      },
    );
  }
  const parts = constantParts(constants, moved, old[constantSegment]);
  const pieces: { offset: number; from: Bytes }[] = [];
  let at = 0;
  let before = 0;
  const segments = old.map((segment, nth): NewSegment => {
    const from = segment.offset - oldBase;
    if (from < before) {
      throw new FormatError(
        "unsupported",
        `Cannot move weights to data files: segment ${nth} overlaps another`,
        {
          offset: segment.offset,
        },
      );
    }
    before = from + segment.length;
    const ranges = nth === constantSegment ? parts.ranges : gone.has(nth) ? [] : [segment];
    const length = ranges.reduce((sum, range) => sum + range.length, 0);
    if (length === 0) return { offset: Math.min(at, from), length };
    const offset = alignUp(at, alignmentOf(from));
    at = offset;
    for (const range of ranges) {
      pieces.push({ offset: base + at, from: range });
      at += range.length;
    }
    return { offset, length };
  });
  return { head: new Uint8Array(base), segments, pieces, size: base + at, constantOffsets: parts.offsets };
}

/** Which segment has the constants: they go on to its end. */
function segmentOf(segments: readonly Bytes[], constants: readonly Bytes[]): number {
  const [first] = constants;
  const end = first ? first.offset + first.length : -1;
  return segments.findIndex(
    ({ offset, length }) => offset + length === end && constants.every((each) => each.offset >= offset),
  );
}

/** What stays of the constants: each with the padding after it, so that those that follow stay aligned. */
function constantParts(
  constants: readonly Bytes[],
  { moved, kept }: MovedConstants,
  segment: Bytes | undefined,
): { ranges: Bytes[]; offsets: bigint[] } {
  if (!segment) return { ranges: [], offsets: [] };
  const starts = [...new Set(constants.map(({ offset }) => offset))].sort((a, b) => a - b);
  const ends = new Map(
    starts.map((start, nth) => [start, starts[nth + 1] ?? segment.offset + segment.length]),
  );
  const stays = new Set<number>();
  for (const [nth, { offset }] of constants.entries()) {
    // What no tensor has is kept: nothing says what it is.
    if (nth > 0 && (kept.has(nth) || !moved.has(nth))) stays.add(offset);
    // A tensor may lie over others.
    const end = offset + (kept.get(nth) ?? 0);
    for (const start of starts) if (start > offset && start < end) stays.add(start);
  }
  const ranges: Bytes[] = [];
  const places = new Map<number, number>();
  let at = 0;
  for (const start of starts) {
    places.set(start, at);
    if (!stays.has(start)) continue;
    const length = (ends.get(start) as number) - start;
    ranges.push({ offset: start, length });
    at += length;
  }
  return { ranges, offsets: constants.map(({ offset }) => BigInt(places.get(offset) as number)) };
}

/** What an old offset says of the alignment that it was given. */
function alignmentOf(offset: number): number {
  if (offset === 0) return LEAST_ALIGNMENT;
  let alignment = LEAST_ALIGNMENT;
  while (alignment < MOST_ALIGNMENT && offset % (alignment * 2) === 0) alignment *= 2;
  return alignment;
}
