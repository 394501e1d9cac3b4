/** Limit of an alignment. Engines need cache lines, pages or huge pages; a larger alignment is a mistake. */
export const MAX_ALIGNMENT: number = 64 * 1024 * 1024;

/**
 * Checks an alignment.
 * @throws RangeError
 */
export function checkAlignment(alignment: number): void {
  if (Number.isSafeInteger(alignment) && alignment >= 1 && alignment <= MAX_ALIGNMENT) return;
  throw new RangeError(`Cannot align to ${alignment}: an alignment is an integer from 1 to ${MAX_ALIGNMENT}`);
}
