import { alignUp } from "../../io/align.ts";
import type { SegmentRange } from "./segments.ts";
import type { ExecutorchPiece, SegmentContent } from "./place-segments.ts";

/** Default alignment of constants in ExecuTorch's exporter, and the largest alignment to detect, in bytes. */
const ALIGNMENT = 16;
const MAX_ALIGNMENT = 4096;

/** Data of a new constant. */
export interface NewConstant {
  /** Its new number. */
  readonly number: number;
  /** Index of its data file. */
  readonly file: number;
  readonly from: SegmentRange;
}

/** Existing constants that overlap, and so stay together. */
interface Run {
  /** Lowest number of its constants that a tensor uses. */
  number: number;
  readonly from: { readonly offset: number; length: number };
  readonly file: 0;
}

/**
 * Adds constants to those of a segment, all in the order of their numbers, as ExecuTorch's exporter does.
 * @param old ranges of the existing constants, by their number
 * @param used number of bytes that tensors need of each constant, by its number
 * @param segment range of the existing constants
 */
export function addConstants(
  old: readonly SegmentRange[],
  used: ReadonlyMap<number, number>,
  segment: SegmentRange,
  added: readonly NewConstant[],
): Pick<SegmentContent, "length" | "pieces"> & { readonly offsets: readonly bigint[] } {
  const { runs, alignment } = runsOf(old, used, segment);
  const pieces: ExecutorchPiece[] = [];
  const places = new Map<Run | NewConstant, number>();
  let at = 0;
  for (const unit of [...new Set(runs.values()), ...added].sort((a, b) => a.number - b.number)) {
    at = alignUp(at, alignment);
    places.set(unit, at);
    if (unit.from.length > 0) pieces.push({ offset: at, from: { ...unit.from }, file: unit.file });
    at += unit.from.length;
  }
  const offsets = old.map(({ offset }, nth) => {
    const run = nth > 0 && runs.get(offset);
    if (run) return BigInt((places.get(run) as number) + offset - run.from.offset);
    // An empty constant. Number 0 is not used.
    return BigInt(nth === 0 ? 0 : at);
  });
  for (const constant of added) {
    while (offsets.length <= constant.number) offsets.push(0n);
    offsets[constant.number] = BigInt(places.get(constant) as number);
  }
  return { pieces, length: at, offsets };
}

/** Finds the run of each constant, by the constant's start, and the alignment of constants. */
function runsOf(
  old: readonly SegmentRange[],
  used: ReadonlyMap<number, number>,
  segment: SegmentRange,
): { readonly runs: ReadonlyMap<number, Run>; readonly alignment: number } {
  const end = segment.offset + segment.length;
  const numbers = new Map<number, { number: number; length: number }>();
  for (const [number, { offset }] of old.entries()) {
    const at = numbers.get(offset);
    const length = used.get(number);
    if (!at) numbers.set(offset, { number, length: length ?? 0 });
    else if (length !== undefined) {
      numbers.set(offset, {
        number: at.length > 0 ? at.number : number,
        length: Math.max(length, at.length),
      });
    }
  }
  const starts = [...numbers.keys()].filter((start) => start < end).sort((a, b) => a - b);
  const runs = new Map<number, Run>();
  let run: Run | undefined;
  let covered = 0;
  let padded = false;
  for (const [nth, start] of starts.entries()) {
    const { number, length: needed } = numbers.get(start) as { number: number; length: number };
    const length = (starts[nth + 1] ?? end) - start;
    // A tensor may overlap others.
    if (run && start < covered) {
      run.from.length += length;
      run.number = Math.min(run.number, number);
    } else run = { number, from: { offset: start, length }, file: 0 };
    runs.set(start, run);
    covered = Math.max(covered, start + needed);
    if (needed > 0 && nth + 1 < starts.length && length > alignUp(needed, ALIGNMENT)) padded = true;
  }
  return { runs, alignment: padded ? alignmentOf(starts.map((start) => start - segment.offset)) : ALIGNMENT };
}

/** The largest alignment that all offsets have. */
function alignmentOf(offsets: readonly number[]): number {
  let alignment = ALIGNMENT;
  while (alignment < MAX_ALIGNMENT && offsets.every((offset) => offset % (alignment * 2) === 0))
    alignment *= 2;
  return alignment;
}
