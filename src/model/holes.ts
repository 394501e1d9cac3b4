import { encodingKey } from "../io/byte-encoding.ts";
import type { ModelDraft, WeightDraft, WeightRange } from "./draft.ts";

/**
 * Chooses the holes of each file of a draft, sorted by offset and without overlap. Of ranges that overlap, the one with
 * the lowest offset (and of these the longest) becomes a hole; the others are stored as weights without a hole.
 */
export function chooseHoles(draft: ModelDraft): WeightRange[][] {
  const ranges: WeightRange[][] = draft.files.map(() => []);
  for (const weight of allWeights(draft)) ranges[weight.at.file]?.push(weight.at);
  return ranges.map((all) => {
    const holes: WeightRange[] = [];
    let end = 0;
    for (const range of all.sort((a, b) => a.offset - b.offset || b.length - a.length)) {
      if (range.offset < end || range.length === 0) continue;
      holes.push(range);
      end = range.offset + range.length;
    }
    return holes;
  });
}

/** Lists every tensor of a draft that the store keeps: the weights, and the constants in other files. */
export function allWeights(draft: ModelDraft): WeightDraft[] {
  return draft.methods.flatMap((method) => [...method.weights, ...method.constants]);
}

/** Returns the ranges of a file outside of its holes: its skeleton. */
export function skeletonRanges(
  size: number,
  holes: readonly { readonly offset: number; readonly length: number }[],
): { offset: number; length: number }[] {
  const ranges: { offset: number; length: number }[] = [];
  let at = 0;
  for (const hole of holes) {
    if (hole.offset > at) ranges.push({ offset: at, length: hole.offset - at });
    at = hole.offset + hole.length;
  }
  if (size > at) ranges.push({ offset: at, length: size - at });
  return ranges;
}

/** Returns a key that is equal for drafts of the same range and encoding, which are the same weight. */
export function rangeKey(at: WeightRange): string {
  return `${at.file}:${at.offset}:${at.length}${encodingKey(at)}`;
}

/** Finds ranges that overlap a different range, by their {@link rangeKey}. */
export function crossedRanges(ranges: readonly WeightRange[]): Set<string> {
  const crossed = new Set<string>();
  const sorted = [...ranges].sort((a, b) => a.file - b.file || a.offset - b.offset || b.length - a.length);
  let before = sorted[0];
  for (const at of sorted) {
    if (!before || at.length === 0) continue;
    const inside = at.file === before.file && at.offset < before.offset + before.length;
    if (inside && rangeKey(at) !== rangeKey(before)) crossed.add(rangeKey(at)).add(rangeKey(before));
    if (!inside || at.offset + at.length > before.offset + before.length) before = at;
  }
  return crossed;
}
