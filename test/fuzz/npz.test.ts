import { zipSync } from "fflate";
import { parseNpz } from "../../src/formats/npy/npz.ts";
import { readNumpy } from "../../src/formats/npy/read.ts";
import { fuzz } from "./campaign.ts";
import { checkDraft } from "./check-draft.ts";
import { filesIn, lone, onlyFile } from "./fixtures.ts";
import { must } from "./must.ts";
import { joined, setNumber } from "./mutate.ts";
import { changeNumpy } from "./numpy-header.ts";
import { changeZip } from "./zip.ts";

const ARRAYS = Object.entries(filesIn("numpy", /^(f4|u1|i2|fortran-f4|big-f4|strings|scalar)\.npy$/));

/** An archive as those over 4 GiB are: the numbers of its directory stand in a record of their own. */
function withEnd64(file: Uint8Array): Uint8Array {
  const end = file.subarray(file.length - 22);
  const view = new DataView(end.buffer, end.byteOffset, end.byteLength);
  const tail = new Uint8Array(76);
  const set = (at: number, size: number, value: number): void => setNumber(tail, { at, size }, BigInt(value));
  set(0, 4, 0x06064b50);
  set(4, 8, 44);
  for (const at of [24, 32]) set(at, 8, view.getUint16(10, true));
  set(40, 8, view.getUint32(12, true));
  set(48, 8, view.getUint32(16, true));
  set(56, 4, 0x07064b50);
  set(64, 8, file.length - 22);
  set(72, 4, 1);
  return joined(file.subarray(0, file.length - 22), tail, end);
}

const FILES = filesIn("numpy", /\.npz$/);

fuzz({
  name: "npz",
  fixtures: lone({
    ...FILES,
    "end64.npz": withEnd64(FILES["stored.npz"] as Uint8Array),
    "none.npz": zipSync({}),
  }),
  read: ({ given, folder }) => readNumpy(given, folder),
  check(draft, files, given) {
    checkDraft(draft);
    const [name, bytes] = onlyFile({ files, given });
    const tensors = parseNpz(bytes, name);
    for (const { name: weight, dtype, shape } of draft.methods[0]?.weights ?? []) {
      const tensor = tensors[weight];
      must(tensor?.dtype === dtype && tensor.shape.join() === shape.join(), "parsers disagree");
    }
  },
  refusesCut: () => true,
  mutate(random, fixture) {
    const [name, bytes] = onlyFile(fixture);
    if (random.chance(0.6)) return { files: { [name]: changeZip(random, bytes) } };
    const chosen = random.shuffled(ARRAYS).slice(0, 1 + random.below(3));
    const arrays = chosen.map(([file, array]) => [
      file,
      random.chance(0.7) ? changeNumpy(random, array) : array,
    ]);
    return { files: { [name]: zipSync(Object.fromEntries(arrays), { level: random.chance(0.7) ? 0 : 1 }) } };
  },
});
