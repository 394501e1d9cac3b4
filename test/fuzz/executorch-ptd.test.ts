import { memorySource } from "../../src/io/byte-source.ts";
import { internalizeProgram } from "../../src/formats/executorch/internalize.ts";
import { readData, readExecutorch } from "../../src/formats/executorch/read.ts";
import { dataFileSpec, encodeDataHeader } from "../../src/formats/executorch/write-data.ts";
import { fuzz } from "./campaign.ts";
import { checkDraft } from "./check-draft.ts";
import { changeTables, type Tables, tablesOf } from "./executorch.ts";
import { filesIn, lone, onlyFile } from "./fixtures.ts";
import { writtenProgram } from "../support/executorch.ts";
import { must } from "./must.ts";

const PROGRAM = filesIn("executorch", /^first\.pte$/)["first.pte"] as Uint8Array;
const FIXTURES: Tables[] = [];
for (const fixture of lone(filesIn("executorch", /\.ptd$/))) FIXTURES.push(await tablesOf(fixture));

fuzz({
  name: "executorch-ptd",
  fixtures: FIXTURES,
  read: ({ given, folder }) => readExecutorch(given, folder),
  async check(draft, files, given) {
    checkDraft(draft);
    const [name, bytes] = onlyFile({ files, given });
    await rewrite(name, bytes);
    await takeIn(name, bytes);
  },
  refusesCut: () => true,
  within: ({ end }) => end,
  mutate(random, fixture) {
    const [name, bytes] = onlyFile(fixture);
    return { files: { [name]: changeTables(random, bytes, fixture.places) } };
  },
});

/** What a data file says is the same after it was written again, or it is not written. */
async function rewrite(name: string, bytes: Uint8Array): Promise<void> {
  const data = await readData(memorySource(bytes, name));
  const { bytes: head, size } = encodeDataHeader(dataFileSpec(data));
  must(size <= 4 * bytes.length + 65_536, `${size} bytes are written for ${bytes.length}`);
  const file = new Uint8Array(Math.max(size, head.length));
  file.set(head);
  const again = await readData(memorySource(file, name));
  const said = ({ named, segments }: typeof data): string =>
    JSON.stringify([named, segments.map(({ length }) => length)]);
  must(said(again) === said(data), "it is not written as it was");
}

/** Moves a data file into the program of the first fixtures, or it is refused: what comes of it is read. */
async function takeIn(name: string, bytes: Uint8Array): Promise<void> {
  const [program, data] = [memorySource(PROGRAM, "first.pte"), memorySource(bytes, name)];
  const made = await internalizeProgram(program, [data], (key) => !key.startsWith("lora"));
  const source = memorySource(writtenProgram(made, [PROGRAM, bytes]));
  await readExecutorch([{ path: "a.pte", source }], { open: async () => undefined });
}
