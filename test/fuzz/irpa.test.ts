import type { IrpaEntry } from "../../src/formats/irpa/parse.ts";
import { irpa } from "../../src/formats/irpa/format.ts";
import { readIrpaEntries } from "../../src/formats/irpa/read.ts";
import { encodeIrpaHeader } from "../../src/formats/irpa/write.ts";
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

const HEADER: Fields = { 2: [4, 6], 8: [8, 16, 24, 32, 40, 48, 56, 64, 72, 80] };
/** Of data and of splats; the last is the length of a pattern. */
const ENTRY: Fields = { 8: [0, 12, 20, 28, 36, 44, 52, 60, 68], 4: [8], 1: [84] };

interface Archive extends Fixture {
  readonly places: readonly Place[];
  readonly entries: readonly Stretch[];
  /** Where storage ends, or where the header does. */
  readonly end: number;
}

function archive(fixture: Fixture): Archive {
  const [, bytes] = onlyFile(fixture);
  const number = (at: number): number => Number(numberAt(bytes, { at, size: 8 }));
  const entries: Stretch[] = [];
  let start = number(40);
  for (let left = number(32); left > 0; left--) {
    const end = start + Math.ceil(number(start) / 16) * 16;
    entries.push({ start, end });
    start = end;
  }
  const places = [...placesAt(0, HEADER), ...entries.flatMap((entry) => placesAt(entry.start, ENTRY))];
  return { ...fixture, places, entries, end: number(80) > 0 ? number(72) + number(80) : 88 };
}

function said(entry: IrpaEntry): unknown {
  const { kind, name, metadata, length } = entry;
  return [kind, name, [...metadata], length, entry.kind === "splat" ? [...entry.pattern] : entry.alignment];
}

fuzz({
  name: "irpa",
  fixtures: lone(filesIn("irpa", /\.irpa$/)).map(archive),
  read: ({ given, folder }) => irpa.read(given, folder),
  async check(draft, files) {
    checkDraft(draft);
    for (const [name, bytes] of Object.entries(files)) {
      const entries = await readIrpaEntries(memorySource(bytes, name));
      const data = entries.filter((entry) => entry.kind === "data");
      must(draft.methods[0]?.weights.length === data.length, "a parameter is no weight");
      // What is written again is read as it was, or not written; its data is not looked at.
      const { bytes: head, size } = encodeIrpaHeader(entries);
      const source = { ...memorySource(head, name), size };
      const again = await readIrpaEntries(source);
      must(
        JSON.stringify(again.map(said)) === JSON.stringify(entries.map(said)),
        "it is not written as it was",
      );
    }
  },
  refusesCut: (fixture, _, end) => end < fixture.end,
  within: (fixture) => Math.min(fixture.end, (fixture.entries.at(-1)?.end ?? 88) + 1500),
  mutate(random, fixture) {
    const [name, file] = onlyFile(fixture);
    let bytes: Uint8Array = file.slice();
    if (random.chance(0.25)) {
      const { bytes: changed, count } = changeRecords(random, bytes, fixture.entries);
      // Everything behind the table lies where it did.
      const end = fixture.entries.at(-1)?.end ?? 0;
      const moved = changed.length - file.length;
      bytes = joined(changed.subarray(0, end + Math.max(0, moved)), file.subarray(end + Math.max(0, moved)));
      if (random.chance(0.7)) setNumber(bytes, { at: 32, size: 8 }, BigInt(count));
      if (random.chance(0.7)) {
        setNumber(bytes, { at: 48, size: 8 }, numberAt(file, { at: 48, size: 8 }) + BigInt(moved));
      }
    }
    if (random.chance(0.8)) changeNumbers(random, bytes, fixture.places);
    return { files: { [name]: bytes } };
  },
});
