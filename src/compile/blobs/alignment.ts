/** Larger ones are a mistake: engines ask for cache lines, pages, at most huge pages. */
export const LARGEST_ALIGNMENT: number = 64 * 1024 * 1024;

/** Refuses what is no alignment: a caller's mistake. */
export function checkAlignment(alignment: number): void {
  if (Number.isSafeInteger(alignment) && alignment >= 1 && alignment <= LARGEST_ALIGNMENT) return;
  throw new RangeError(
    `Cannot align to ${alignment}: an alignment is a whole number from 1 to ${LARGEST_ALIGNMENT}`,
  );
}

/** The smallest alignment that satisfies both: their least common multiple. */
export function bothAlignments(a: number, b: number): number {
  let [divisor, rest] = [a, b];
  while (rest > 0) [divisor, rest] = [rest, divisor % rest];
  return (a / divisor) * b;
}

/** The first multiple of `alignment` from `offset` on. */
export function alignUp(offset: number, alignment: number): number {
  return Math.ceil(offset / alignment) * alignment;
}
