import { vi } from "vitest";
import { memorySource } from "../../src/io/byte-source.ts";
import { Flatbuffer } from "../../src/encodings/flatbuffer/table.ts";
import { readExecutorch } from "../../src/formats/executorch/read.ts";
import type { Fixture } from "./campaign.ts";
import { onlyFile } from "./fixtures.ts";
import { changeNumbers, numberAt, type Place, placesAt, setNumber } from "./mutate.ts";
import type { Random } from "./random.ts";

/** A file, and the places of the numbers that its tables are read by. */
export interface Tables extends Fixture {
  readonly places: readonly Place[];
  /** Where its tables end. */
  readonly end: number;
  /** Whether it has a header, which says how long it is. */
  readonly sized: boolean;
}

/** Finds the places: every one of up to 8 bytes that the parser looks at, and those of the header. */
export async function tablesOf(fixture: Fixture): Promise<Tables> {
  const [name, bytes] = onlyFile(fixture);
  const places = new Map<number, number>();
  const spy = vi.spyOn(Flatbuffer.prototype, "view");
  const given = [{ path: name, source: memorySource(bytes, name) }];
  await readExecutorch(given, { open: async () => undefined });
  for (const [at, size] of spy.mock.calls) if (size > 0 && size <= 8) places.set(at, size);
  spy.mockRestore();
  const tables = [...places].map(([at, size]) => ({ at, size }));
  const end = Math.max(...places.keys()) + 8;
  const sized = /^(eh00|FH01)/.test(String.fromCharCode(...bytes.subarray(8, 12)));
  const header = sized ? placesAt(0, { 4: [12], 8: [16, 24, 32, 40] }) : [];
  return { ...fixture, places: [...tables, ...header], end, sized };
}

/** Other numbers in the tables, and offsets that lead backwards, to themselves, or where others lead. */
export function changeTables(random: Random, file: Uint8Array, places: readonly Place[]): Uint8Array {
  const bytes = file.slice();
  const offsets = places.filter(({ size }) => size === 4);
  if (random.chance(0.5)) changeNumbers(random, bytes, places);
  else {
    for (let left = random.times(3); left > 0; left--) {
      const place = random.pick(offsets);
      const other = random.pick(offsets);
      // Offsets count from where they stand; those of a table's layout count backwards.
      const target = random.chance(0.5) ? other.at : other.at + Number(numberAt(bytes, other));
      const distance = random.pick([target - place.at, place.at - target, 0, -4, 4, place.at, -place.at]);
      setNumber(bytes, place, BigInt(distance));
    }
  }
  return bytes;
}
