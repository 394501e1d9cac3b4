/** Larger ones are a mistake: engines ask for cache lines, pages, at most huge pages. */
export const MAX_ALIGNMENT: number = 64 * 1024 * 1024;

/** Refuses what is no alignment: a caller's mistake. */
export function checkAlignment(alignment: number): void {
  if (Number.isSafeInteger(alignment) && alignment >= 1 && alignment <= MAX_ALIGNMENT) return;
  throw new RangeError(
    `Cannot align to ${alignment}: an alignment is a whole number from 1 to ${MAX_ALIGNMENT}`,
  );
}
