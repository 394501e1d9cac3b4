import { memorySource } from "../../src/io/byte-source.ts";
import { parseGgufHeader } from "../../src/formats/gguf/parse.ts";
import { readGguf } from "../../src/formats/gguf/read.ts";
import { readGgufHeader } from "../../src/formats/gguf/read-header.ts";
import { GgufArray, type GgufValue } from "../../src/formats/gguf/values.ts";
import { encodeGgufHeader } from "../../src/formats/gguf/write.ts";
import { array, buildGguf, floats, text, TYPE, uint32 } from "../support/gguf-builder.ts";
import { type Fixture, fuzz } from "./campaign.ts";
import { checkDraft } from "./check-draft.ts";
import { filesIn, lone } from "./fixtures.ts";
import { must } from "./must.ts";
import { changeNumbers, changeRecords, numberAt, type Place, setNumber, type Stretch } from "./mutate.ts";

/** Where the numbers of a header are, and its records; counted in place 8 (tensors) and 16 (entries). */
interface Header {
  readonly places: readonly Place[];
  readonly entries: readonly Stretch[];
  readonly tensors: readonly Stretch[];
  readonly end: number;
  /** A file that ends before this lacks something. */
  readonly needed: number;
}

interface Model extends Fixture {
  readonly headers: Readonly<Record<string, Header>>;
}

const VALUE_SIZES = [1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8];

/** Walks over the header of a right file, as the specification has it. */
function headerOf(bytes: Uint8Array): Header {
  const places: Place[] = [{ at: 4, size: 4 }];
  const [entries, tensors]: [Stretch[], Stretch[]] = [[], []];
  let at = 8;
  const number = (size: number): number => {
    places.push({ at, size });
    at += size;
    return Number(numberAt(bytes, { at: at - size, size }));
  };
  const string = (): void => {
    const length = number(8);
    at += length;
  };
  const value = (type: number): void => {
    if (type === TYPE.string) string();
    else if (type === TYPE.array) {
      const element = number(4);
      for (let left = number(8); left > 0; left--) value(element);
    } else number(VALUE_SIZES[type] as number);
  };
  const counts = [number(8), number(8)];
  for (let left = counts[1] as number; left > 0; left--) {
    const start = at;
    string();
    value(number(4));
    entries.push({ start, end: at });
  }
  for (let left = counts[0] as number; left > 0; left--) {
    const start = at;
    string();
    for (let dimensions = number(4); dimensions > 0; dimensions--) number(8);
    number(4);
    number(8);
    tensors.push({ start, end: at });
  }
  const header = parseGgufHeader(bytes, { name: "fixture", size: bytes.length });
  const last = header?.tensors.at(-1);
  const needed = last ? last.offset + (last.dtype ? last.length : 1) : at;
  return { places, entries, tensors, end: at, needed };
}

function model(fixture: Fixture): Model {
  const headers = Object.entries(fixture.files).map(([name, bytes]): [string, Header] => [
    name,
    headerOf(bytes),
  ]);
  return { ...fixture, headers: Object.fromEntries(headers) };
}

const ALL = filesIn("gguf", /^(?!big-endian).*\.gguf$/);
const named = (test: RegExp): Record<string, Uint8Array> =>
  Object.fromEntries(Object.entries(ALL).filter(([name]) => test.test(name)));
const SPLIT = named(/^split-/);
/** Arrays of arrays, of strings and of nothing. */
const NESTED = buildGguf({
  entries: [
    array("rows", TYPE.array, 3, (out) => {
      for (const row of [[1, 2], [], [3]]) out.integer(TYPE.uint8, 4).integer(row.length, 8).raw(row);
    }),
    array("tokens", TYPE.string, 3, (out) => out.text("a").text("").text([0xff, 0xfe])),
    array("deep", TYPE.array, 1, (out) => {
      for (let level = 0; level < 5; level++) out.integer(TYPE.array, 4).integer(1, 8);
      out.integer(TYPE.bool, 4).integer(2, 8).raw([0, 1]);
    }),
    uint32("general.alignment", 64),
    text("general.name", "x"),
  ],
  tensors: [floats("a", 8), floats("b", 0), { name: "c", dims: [4, 3], type: 99, size: 40 }],
  alignment: 64,
}).bytes;

fuzz({
  name: "gguf",
  fixtures: [
    ...lone({ ...named(/^(?!split-|late-)/), "nested.gguf": NESTED }),
    { files: SPLIT, given: Object.keys(SPLIT) },
    { files: SPLIT, given: Object.keys(SPLIT).slice(1, 2) },
    ...[named(/^late-/)].map((files) => ({ files, given: Object.keys(files) })),
  ].map(model),
  read: ({ given, folder }) => readGguf(given, folder),
  async check(draft, files, given) {
    checkDraft(draft);
    for (const path of given) await checkHeader(path, files[path] as Uint8Array);
  },
  refusesCut: ({ headers }, path, end) => end < (headers[path]?.needed ?? 0),
  within: ({ headers }, path) => headers[path]?.end ?? 64,
  mutate(random, { files, given, headers }) {
    const name = random.pick(Object.keys(files));
    const { places, entries, tensors } = headers[name] as Header;
    let bytes: Uint8Array = (files[name] as Uint8Array).slice();
    if (random.chance(0.25)) {
      const ofTensors = random.chance(0.5);
      const { bytes: changed, count } = changeRecords(random, bytes, ofTensors ? tensors : entries);
      bytes = changed;
      if (random.chance(0.8) && count > 0)
        setNumber(bytes, { at: ofTensors ? 8 : 16, size: 8 }, BigInt(count));
    } else changeNumbers(random, bytes, places);
    const changed: Record<string, Uint8Array> = { ...files, [name]: bytes };
    const kept = random.chance(0.2) ? random.shuffled(given).slice(0, 1) : given;
    const gone = random.pick(Object.keys(files));
    if (random.chance(0.05) && !kept.includes(gone)) delete changed[gone];
    return { files: changed, given: kept };
  },
});

/** Reads every value, as deep as it goes. */
function exhaust(value: GgufValue): void {
  if (value instanceof GgufArray) for (const inner of value) exhaust(inner);
}

async function checkHeader(name: string, bytes: Uint8Array): Promise<void> {
  const header = await readGgufHeader(memorySource(bytes, name));
  for (const { value } of header.metadata) exhaust(value);
  let end = header.dataStart;
  for (const { offset, length } of header.tensors) {
    must(offset >= end && (offset - header.dataStart) % header.alignment === 0, `a tensor is at ${offset}`);
    end = offset + length;
  }
  must(end <= bytes.length, "a tensor ends past the end");
  // What is padded to megabytes is not worth the time.
  if (header.alignment > 2 ** 16) return;
  const { bytes: written, size } = encodeGgufHeader(header);
  // What padding holds is not the header's.
  const last = written.findLastIndex((byte) => byte !== 0) + 1;
  must(
    Buffer.compare(written.subarray(0, last), bytes.subarray(0, last)) === 0,
    "it is not written as it was",
  );
  const again = parseGgufHeader(written, { name, size: Math.max(size, bytes.length) });
  must(again?.tensors.length === header.tensors.length, "what is written has other tensors");
}
