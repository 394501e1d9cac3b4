/** Length of a chunk of zeros, in bytes. */
const ZEROS = 64 * 1024;

/** Returns the smallest multiple of `alignment` that is not below `offset`. */
export function alignUp(offset: number, alignment: number): number {
  return Math.ceil(offset / alignment) * alignment;
}

/** Returns the smallest alignment that satisfies both: their least common multiple. */
export function bothAlignments(a: number, b: number): number {
  let [divisor, remainder] = [a, b];
  while (remainder > 0) [divisor, remainder] = [remainder, divisor % remainder];
  return (a / divisor) * b;
}

/** Yields `count` zero bytes in chunks of at most 64 KiB: the padding for a large alignment can be large. */
export function* zeros(count: number): Generator<Uint8Array, void, undefined> {
  if (!Number.isSafeInteger(count) || count < 0) {
    throw new RangeError(`Cannot write padding of ${count} bytes: two pieces of the file overlap`);
  }
  for (let left = count; left > 0; left -= ZEROS) yield new Uint8Array(Math.min(left, ZEROS));
}
