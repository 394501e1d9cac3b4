import {
  changeNumbers,
  changeRecords,
  type Fields,
  numberAt,
  type Place,
  placesAt,
  setNumber,
  type Stretch,
} from "./mutate.ts";
import type { Random } from "./random.ts";

const CENTRAL: Fields = { 2: [8, 10, 28, 30, 32], 4: [16, 20, 24, 42] };
const LOCAL: Fields = { 2: [6, 8, 26, 28], 4: [0, 14, 18, 22] };
const END: Fields = { 2: [4, 6, 8, 10, 20], 4: [12, 16] };
/** Of the record with the large numbers, and of what says where it is. */
const END64: Fields = { 8: [4, 24, 32, 40, 48, 64], 4: [16, 20, 60, 72] };

interface Archive {
  readonly central: readonly Stretch[];
  readonly places: readonly Place[];
  readonly end: number;
}

/** What a right archive without a comment is made of. */
function archive(bytes: Uint8Array): Archive {
  const end = bytes.length - 22;
  const number = (at: number, size: number): number => Number(numberAt(bytes, { at, size }));
  const places: Place[] = placesAt(end, END);
  let count = number(end + 10, 2);
  let start = number(end + 16, 4);
  if (end >= 76 && number(end - 20, 4) === 0x07064b50) {
    const record = end - 76;
    places.push(...placesAt(record, END64));
    [count, start] = [number(record + 32, 8), number(record + 48, 8)];
  }
  const central: Stretch[] = [];
  for (let left = count; left > 0; left--) {
    const next = start + 46 + number(start + 28, 2) + number(start + 30, 2) + number(start + 32, 2);
    const local = number(start + 42, 4);
    places.push(...placesAt(start, CENTRAL));
    if (local < bytes.length) places.push(...placesAt(local, LOCAL));
    // What is in an extra field: the sizes of zip64.
    for (let at = start + 46 + number(start + 28, 2); at + 4 <= next; at += 8) places.push({ at, size: 8 });
    central.push({ start, end: next });
    start = next;
  }
  return { central, places, end };
}

const ARCHIVES = new WeakMap<Uint8Array, Archive>();

/** Changes an archive: numbers of its headers and its directory, and which entries the directory has. */
export function changeZip(random: Random, file: Uint8Array): Uint8Array {
  let found = ARCHIVES.get(file);
  if (!found) ARCHIVES.set(file, (found = archive(file)));
  let bytes: Uint8Array = file.slice();
  if (random.chance(0.2)) {
    const { bytes: changed, count } = changeRecords(random, bytes, found.central);
    const end = changed.length - 22;
    if (random.chance(0.8))
      for (const at of [8, 10]) setNumber(changed, { at: end + at, size: 2 }, BigInt(count));
    if (random.chance(0.8)) {
      const size = numberAt(file, { at: found.end + 12, size: 4 }) + BigInt(changed.length - file.length);
      setNumber(changed, { at: end + 12, size: 4 }, size);
    }
    bytes = changed;
  } else if (random.chance(0.1) && found.central.length > 1) {
    // Two names for one place, or one name for two.
    const [one, other] = [random.pick(found.central), random.pick(found.central)];
    const [from, length] = random.chance(0.5)
      ? [42, 4]
      : [46, Math.min(one.end - one.start, other.end - other.start) - 46];
    bytes.copyWithin(other.start + from, one.start + from, one.start + from + length);
  }
  if (random.chance(0.7)) changeNumbers(random, bytes, found.places);
  return bytes;
}
