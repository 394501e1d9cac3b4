import { type ByteSource, memorySource } from "../../src/io/byte-source.ts";
import { externalizeProgram } from "../../src/formats/executorch/externalize.ts";
import { internalizeProgram } from "../../src/formats/executorch/internalize.ts";
import { readExecutorch } from "../../src/formats/executorch/read.ts";
import { fuzz } from "./campaign.ts";
import { checkDraft } from "./check-draft.ts";
import { changeTables, type Tables, tablesOf } from "./executorch.ts";
import { filesIn, lone, onlyFile } from "./fixtures.ts";
import { weightsOf, writtenData, writtenProgram } from "../support/executorch.ts";
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

const ALONE = { open: async () => undefined };

/** Moves every second weight to a data file, and all of them back: they are what they were. */
async function move(name: string, bytes: Uint8Array): Promise<void> {
  let nth = 0;
  const source = memorySource(bytes, name);
  const made = await externalizeProgram(source, () => (nth++ % 2 ? "x" : undefined));
  const [file] = made.files;
  if (!file) return;
  const program = memorySource(writtenProgram(made, [bytes]), name);
  const data = memorySource(writtenData(file, bytes), `${file.name}.ptd`);
  const back = await internalizeProgram(program, [data], () => true);
  const parts = await Promise.all([program, data].map((each) => each.read(0, each.size)));
  const whole = memorySource(writtenProgram(back, parts), name);
  must(
    JSON.stringify(await weightsIn(whole)) === JSON.stringify(await weightsIn(source)),
    "a weight is not what it was before it was moved to a data file and back",
  );
}

async function weightsIn(source: ByteSource): Promise<Record<string, string[]>> {
  return weightsOf(await readExecutorch([{ path: "a.pte", source }], ALONE));
}
