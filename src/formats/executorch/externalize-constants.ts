import type { SegmentRange } from "./segments.ts";
import type { ExecutorchPiece, SegmentContent } from "./place-segments.ts";

/** Constants that move to data files, and those that a tensor still needs. */
export interface MovedConstants {
  readonly moved: ReadonlySet<number>;
  /** Number of bytes that tensors need of each. */
  readonly kept: ReadonlyMap<number, number>;
}

/** Lays out the constants that stay, each with the padding after it, so that the following ones stay aligned. */
export function keepConstants(
  constants: readonly SegmentRange[],
  { moved, kept }: MovedConstants,
  segment: SegmentRange,
): Pick<SegmentContent, "length" | "pieces"> & { readonly offsets: readonly bigint[] } {
  const starts = [...new Set(constants.map(({ offset }) => offset))].sort((a, b) => a - b);
  const stays = new Set<number>();
  for (const [nth, { offset }] of constants.entries()) {
    // Constants without a tensor are kept: their purpose is unknown.
    if (nth > 0 && (kept.has(nth) || !moved.has(nth))) stays.add(offset);
    // A tensor may overlap others.
    const end = offset + (kept.get(nth) ?? 0);
    for (const start of starts) if (start > offset && start < end) stays.add(start);
  }
  const pieces: ExecutorchPiece[] = [];
  const places = new Map<number, number>();
  let at = 0;
  for (const [nth, start] of starts.entries()) {
    places.set(start, at);
    const length = (starts[nth + 1] ?? segment.offset + segment.length) - start;
    if (!stays.has(start) || length === 0) continue;
    pieces.push({ offset: at, from: { offset: start, length }, file: 0 });
    at += length;
  }
  return { pieces, length: at, offsets: constants.map(({ offset }) => BigInt(places.get(offset) as number)) };
}
