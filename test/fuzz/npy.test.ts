import { parseNpy } from "../../src/formats/npy/parse.ts";
import { readNumpy } from "../../src/formats/npy/read.ts";
import { fuzz } from "./campaign.ts";
import { checkDraft } from "./check-draft.ts";
import { filesIn, lone, onlyFile } from "./fixtures.ts";
import { must } from "./must.ts";
import { changeNumpy } from "./numpy-header.ts";

fuzz({
  name: "npy",
  fixtures: lone(
    Object.fromEntries(
      Object.entries(filesIn("numpy", /\.npy$/)).filter(([name]) => !name.startsWith("refused")),
    ),
  ),
  read: ({ given, folder }) => readNumpy(given, folder),
  check(draft, files, given) {
    checkDraft(draft);
    const [name, bytes] = onlyFile({ files, given });
    // The parser of inputs and outputs agrees.
    const tensor = parseNpy(bytes, name);
    const [weight] = draft.methods[0]?.weights ?? [];
    if (!weight) return;
    must(weight.dtype === tensor.dtype && weight.shape.join() === tensor.shape.join(), "parsers disagree");
  },
  refusesCut: () => true,
  within: (_, path) => (path === "strings.npy" ? 400 : 130),
  mutate(random, fixture) {
    const [name, bytes] = onlyFile(fixture);
    return { files: { [name]: changeNumpy(random, bytes) } };
  },
});
