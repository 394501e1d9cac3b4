import { encodingKey } from "../io/byte-encoding.ts";
import type { ModelDraft, WeightDraft, WeightRange } from "./draft.ts";

/**
 * Chooses, for each file of a draft, the weights whose bytes become holes: sorted, none over another.
 * Where ranges overlap the first (and of those the longest) is the hole; the others are stored all the same.
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

/** Every tensor of a draft whose bytes go to the store: the weights, and the constants in other files. */
export function allWeights(draft: ModelDraft): WeightDraft[] {
  return draft.methods.flatMap((method) => [...method.weights, ...method.constants]);
}

/** The ranges between holes: a file's rest. */
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

/** Two drafts of a weight at one place are one weight. */
export function rangeKey(at: WeightRange): string {
  return `${at.file}:${at.offset}:${at.length}${encodingKey(at)}`;
}

/** Ranges that lie over part of another, which is not the same, by their {@link rangeKey}. */
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
