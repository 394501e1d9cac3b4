import { tvmParams } from "../../src/formats/tvm-params/format.ts";
import { readTvmParamsEntries } from "../../src/formats/tvm-params/read.ts";
import { encodeTvmParams } from "../../src/formats/tvm-params/write.ts";
import { memorySource } from "../../src/io/byte-source.ts";
import { type Fixture, fuzz } from "./campaign.ts";
import { checkDraft } from "./check-draft.ts";
import { filesIn, lone, onlyFile } from "./fixtures.ts";
import { must } from "./must.ts";
import {
  changeNumbers,
  changeRecords,
  joined,
  numberAt,
  type Fields,
  type Place,
  placesAt,
  setNumber,
  type Stretch,
} from "./mutate.ts";

interface Params extends Fixture {
  readonly places: readonly Place[];
  readonly names: readonly Stretch[];
  readonly arrays: readonly Stretch[];
}

/** Of an array, before its number of dimensions. */
const ARRAY: Fields = { 8: [0, 8], 4: [16, 20], 1: [28, 29], 2: [30] };

/** Finds the numbers of a file: of its list of names, and before the data of each array. */
function params(fixture: Fixture): Params {
  const [, bytes] = onlyFile(fixture);
  const places: Place[] = [];
  const number = (at: number, size: number): number => {
    places.push({ at, size });
    return Number(numberAt(bytes, { at, size }));
  };
  const [names, arrays]: [Stretch[], Stretch[]] = [[], []];
  number(0, 8);
  number(8, 8);
  let at = 24;
  for (let left = number(16, 8); left > 0; left--) {
    const start = at;
    at += 8 + number(at, 8);
    names.push({ start, end: at });
  }
  const count = number(at, 8);
  at += 8;
  for (let left = count; left > 0; left--) {
    const start = at;
    places.push(...placesAt(start, ARRAY));
    const dimensions = number(start + 24, 4);
    for (let nth = 0; nth < dimensions; nth++) number(start + 32 + 8 * nth, 8);
    const length = number(start + 32 + 8 * dimensions, 8);
    at = start + 40 + 8 * dimensions + length;
    arrays.push({ start, end: at });
  }
  return { ...fixture, places, names, arrays };
}

fuzz({
  name: "tvm-params",
  fixtures: lone(filesIn("tvm", /\.params$/)).map(params),
  read: ({ given, folder }) => tvmParams.read(given, folder),
  async check(draft, files) {
    checkDraft(draft);
    for (const [name, bytes] of Object.entries(files)) {
      const entries = await readTvmParamsEntries(memorySource(bytes, name));
      // What is read is all there is: written again it is the same, byte for byte.
      const { places, empty } = encodeTvmParams(entries);
      // Of types that are not known nothing says how large they are.
      if (places.some(({ length }, nth) => length !== entries[nth]?.length)) continue;
      const pieces = places.flatMap(({ header }, nth) => {
        const { offset, length } = entries[nth] as (typeof entries)[number];
        return [header, bytes.subarray(offset, offset + length)];
      });
      const again = joined(empty, ...pieces);
      must(Buffer.compare(again, withDevice(bytes, entries)) === 0, "it is not written as it was");
    }
  },
  refusesCut: () => true,
  mutate(random, fixture) {
    const [name, file] = onlyFile(fixture);
    let bytes: Uint8Array = file.slice();
    if (random.chance(0.25)) {
      const list = random.chance(0.5) ? fixture.arrays : fixture.names;
      const { bytes: changed, count } = changeRecords(random, bytes, list);
      bytes = changed;
      if (random.chance(0.7)) setNumber(bytes, { at: 16, size: 8 }, BigInt(count));
    }
    if (random.chance(0.8)) changeNumbers(random, bytes, fixture.places);
    return { files: { [name]: bytes } };
  },
});

/** The file, with the number of the device that is not looked at set to 0. */
function withDevice(
  bytes: Uint8Array,
  entries: readonly { readonly offset: number; readonly shape: readonly number[] }[],
): Uint8Array {
  const file = bytes.slice();
  for (const { offset, shape } of entries)
    setNumber(file, { at: offset - 20 - 8 * shape.length, size: 4 }, 0n);
  return file;
}
