/** Zeros at a time. */
const ZEROS = 64 * 1024;

/** The first multiple of `alignment` from `offset` on. */
export function alignUp(offset: number, alignment: number): number {
  return Math.ceil(offset / alignment) * alignment;
}

/** The smallest alignment that satisfies both: their least common multiple. */
export function bothAlignments(a: number, b: number): number {
  let [divisor, rest] = [a, b];
  while (rest > 0) [divisor, rest] = [rest, divisor % rest];
  return (a / divisor) * b;
}

/** The zeros between two pieces of a file, in pieces: an alignment may be large. */
export function* zeros(count: number): Generator<Uint8Array, void, undefined> {
  if (!Number.isSafeInteger(count) || count < 0) {
    throw new RangeError("Cannot write a data file whose pieces overlap, or leave it");
  }
  for (let left = count; left > 0; left -= ZEROS) yield new Uint8Array(Math.min(left, ZEROS));
}
