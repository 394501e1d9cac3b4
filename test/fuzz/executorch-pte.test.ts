import { memorySource } from "../../src/bytes/byte-source.ts";
import { externalizeProgram } from "../../src/formats/executorch/externalize.ts";
import { readExecutorch } from "../../src/formats/executorch/read.ts";
import { encodeDataHead } from "../../src/formats/executorch/write-data.ts";
import { fuzz } from "./campaign.ts";
import { checkDraft } from "./check-draft.ts";
import { changeTables, type Tables, tablesOf } from "./executorch.ts";
import { filesIn, lone, onlyFile } from "./fixtures.ts";
import { must } from "./must.ts";

const COMPANION = filesIn("executorch", /^first-foundation\.ptd$/)["first-foundation.ptd"] as Uint8Array;
const FIXTURES: Tables[] = [];
for (const fixture of lone(filesIn("executorch", /\.pte$/))) {
  const [name] = fixture.given as [string];
  // The data file that is named as the program is.
  const files = name === "first.pte" ? { ...fixture.files, "first.ptd": COMPANION } : fixture.files;
  FIXTURES.push({ ...(await tablesOf(fixture)), files, broken: [name] });
}

fuzz({
  name: "executorch-pte",
  fixtures: FIXTURES,
  read: ({ given, folder }) => readExecutorch(given, folder),
  async check(draft, files, given) {
    checkDraft(draft);
    const [name, bytes] = onlyFile({ files, given });
    await move(name, bytes);
  },
  // Without a header nothing says where a file ends, and the last of its tables may not be looked at.
  refusesCut: ({ sized, files }, path, end) =>
    sized || end < new DataView((files[path] as Uint8Array).buffer).getUint32(0, true),
  within: ({ end }) => end,
  mutate(random, { files, given, places }) {
    const [name = ""] = given;
    return { files: { ...files, [name]: changeTables(random, files[name] as Uint8Array, places) } };
  },
});

/** Moves every second weight to a data file: what is read for that is in the file, and written where nothing is. */
async function move(name: string, bytes: Uint8Array): Promise<void> {
  let nth = 0;
  const source = memorySource(bytes, name);
  const { head, pieces, size, files } = await externalizeProgram(source, () => (nth++ % 2 ? "x" : undefined));
  let at = head.length;
  for (const { offset, from } of pieces) {
    must(offset >= at, "a piece is written over another");
    must(from.offset + from.length <= bytes.length, "a piece ends past the end");
    at = offset + from.length;
  }
  must(at === size, `the pieces end at ${at} of ${size}`);
  for (const { spec, from } of files) {
    const lengths = from.map(({ length }) => length);
    must(
      spec.segments.map(({ length }) => length).join() === lengths.join(),
      "segments are of other lengths",
    );
    must(encodeDataHead(spec).size > 0, "a data file has no bytes");
    must(
      from.every(({ offset, length }) => offset + length <= bytes.length),
      "a weight ends past the end",
    );
  }
}
