import type { Random } from "./random.ts";

/** A number of a file, little-endian: where it stands, and of how many bytes. */
export interface Place {
  readonly at: number;
  readonly size: number;
}

/** A stretch of a file that is one record. */
export interface Stretch {
  readonly start: number;
  readonly end: number;
}

/** Numbers that break what was not thought of. */
const BOUNDARIES: readonly bigint[] = [
  0n,
  1n,
  2n,
  3n,
  ...[7, 8, 15, 16, 31, 32, 53, 60, 63, 64].flatMap((bits) => [
    2n ** BigInt(bits) - 1n,
    2n ** BigInt(bits),
    2n ** BigInt(bits) + 1n,
  ]),
];
const STEPS = [1, 1, 2, 4, 7, 8, 16, 64, 4096] as const;
const BYTES = [0, 1, 0x20, 0x22, 0x2e, 0x7f, 0x80, 0xfe, 0xff] as const;

/** Fields of a structure: where they stand in it, by how many bytes they have. */
export type Fields = Readonly<Partial<Record<1 | 2 | 4 | 8, readonly number[]>>>;

/** The numbers of a structure that starts at a place. */
export function placesAt(start: number, fields: Fields): Place[] {
  return Object.entries(fields).flatMap(([size, all]) => {
    return all.map((at) => ({ at: start + at, size: Number(size) }));
  });
}

/** @param size in bytes; past the end a number is 0 */
export function numberAt(bytes: Uint8Array, { at, size }: Place): bigint {
  let value = 0n;
  for (let byte = size - 1; byte >= 0; byte--) value = value * 256n + BigInt(bytes[at + byte] ?? 0);
  return value;
}

/** Writes what of a number fits its place. */
export function setNumber(bytes: Uint8Array, { at, size }: Place, value: bigint): void {
  const bits = BigInt.asUintN(64, value);
  for (let byte = 0; byte < size && at + byte < bytes.length; byte++) {
    bytes[at + byte] = Number((bits >> BigInt(8 * byte)) & 0xffn);
  }
}

/** Another number: a boundary of any kind, the size of the file or next to it, a little more or less, or anything. */
export function otherNumber(random: Random, old: bigint, size: number): bigint {
  const step = BigInt(random.pick(STEPS));
  switch (random.below(6)) {
    case 0:
      return random.pick(BOUNDARIES);
    case 1:
      return BigInt(size) + BigInt(random.below(3) - 1);
    case 2:
      return old + step;
    case 3:
      return old - step;
    case 4:
      return BigInt(random.below(Math.max(64, 2 * size)));
    default:
      return -step;
  }
}

/** Changes a few of a file's numbers, in place. */
export function changeNumbers(random: Random, bytes: Uint8Array, places: readonly Place[]): void {
  for (let left = random.times(3); left > 0 && places.length > 0; left--) {
    const place = random.pick(places);
    const value = random.chance(0.15)
      ? numberAt(bytes, random.pick(places))
      : otherNumber(random, numberAt(bytes, place), bytes.length);
    setNumber(bytes, place, value);
  }
}

/** Joins pieces. */
export function joined(...parts: readonly Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}

/** Takes a record out, says it twice, or has two change places; what counts them is not set right. */
export function changeRecords(
  random: Random,
  bytes: Uint8Array,
  records: readonly Stretch[],
): { bytes: Uint8Array; count: number } {
  if (records.length === 0) return { bytes, count: 0 };
  const order = records.map((_, nth) => nth);
  const nth = random.below(order.length);
  const kind = random.below(3);
  if (kind === 0) order.splice(nth, 1);
  else if (kind === 1) order.splice(random.below(order.length + 1), 0, nth);
  else {
    const other = random.below(order.length);
    [order[nth], order[other]] = [order[other] as number, order[nth] as number];
  }
  const first = (records[0] as Stretch).start;
  const last = (records.at(-1) as Stretch).end;
  const parts = order.map((each) => {
    const { start, end } = records[each] as Stretch;
    return bytes.subarray(start, end);
  });
  const all = joined(bytes.subarray(0, first), ...parts, bytes.subarray(last));
  return { bytes: all, count: order.length };
}

/** What is done to bytes of which nothing is known: others, fewer, more, once more, and numbers where there may be some. */
export function hit(random: Random, file: Uint8Array, within: number = file.length): Uint8Array {
  let bytes: Uint8Array = file.slice();
  for (let left = random.times(4); left > 0; left--) {
    const at = random.below(Math.min(within, bytes.length));
    switch (random.below(10)) {
      case 0: {
        const size = random.pick([2, 4, 8]);
        const place = { at: at - (at % size), size };
        setNumber(bytes, place, otherNumber(random, numberAt(bytes, place), bytes.length));
        break;
      }
      case 1:
        if (random.chance(0.3)) bytes = bytes.slice(0, at);
        break;
      case 2:
        bytes = joined(bytes.subarray(0, at), bytes.subarray(at + 1 + random.below(16)));
        break;
      case 3: {
        const from = random.below(bytes.length);
        const piece = bytes.slice(from, from + 1 + random.below(64));
        bytes = joined(bytes.subarray(0, at), piece, bytes.subarray(at));
        break;
      }
      case 4:
        bytes.copyWithin(at, random.below(bytes.length), random.below(bytes.length));
        break;
      case 5:
        bytes[at] = (bytes[at] ?? 0) ^ (1 << random.below(8));
        break;
      case 6:
        bytes[at] = random.pick(BYTES);
        break;
      default:
        bytes[at] = random.below(256);
    }
  }
  return bytes;
}
