import { zipSync } from "fflate";
import { memorySource } from "../../src/io/byte-source.ts";
import { readZip } from "../../src/encodings/zip/read.ts";
import { pytorch } from "../../src/formats/pytorch/format.ts";
import { type Fixture, fuzz } from "./campaign.ts";
import { checkDraft } from "./check-draft.ts";
import { filesIn, lone, onlyFile } from "./fixtures.ts";
import { changePickle, instructionsOf } from "./pickle.ts";
import { changeZip } from "./zip.ts";

interface Checkpoint extends Fixture {
  readonly parts: Readonly<Record<string, Uint8Array>>;
  /** Which of the parts is the pickle. */
  readonly pickle: string;
  readonly program: readonly Uint8Array[];
}

async function checkpoint(fixture: Fixture): Promise<Checkpoint> {
  const [name, bytes] = onlyFile(fixture);
  const members = await readZip(memorySource(bytes, name));
  const parts = members.map(({ name, start, size }): [string, Uint8Array] => [
    name,
    bytes.slice(start, start + size),
  ]);
  const [pickle = "", program] = parts.find(([part]) => part.endsWith("/data.pkl")) ?? [];
  return {
    ...fixture,
    parts: Object.fromEntries(parts),
    pickle,
    program: instructionsOf(program as Uint8Array),
  };
}

const FILES = filesIn("pytorch", /^(?!refused|legacy).*\.pth?$/);
const FIXTURES: Checkpoint[] = [];
for (const fixture of lone(FILES)) FIXTURES.push(await checkpoint(fixture));

fuzz({
  name: "pytorch",
  fixtures: FIXTURES,
  read: ({ given, folder }) => pytorch.read(given, folder),
  check: checkDraft,
  refusesCut: () => true,
  mutate(random, fixture) {
    const [name, bytes] = onlyFile(fixture);
    if (random.chance(0.4)) return { files: { [name]: changeZip(random, bytes) } };
    const parts: Record<string, Uint8Array> = { ...fixture.parts };
    if (random.chance(0.95)) parts[fixture.pickle] = changePickle(random, fixture.program);
    if (random.chance(0.1)) {
      const other = random.pick(Object.keys(parts));
      const part = parts[other] as Uint8Array;
      if (random.chance(0.3)) delete parts[other];
      else parts[other] = random.chance(0.5) ? part.subarray(1) : new Uint8Array(part.length + 1);
    }
    return { files: { [name]: zipSync(parts, { level: 0 }) } };
  },
});
