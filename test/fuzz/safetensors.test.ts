import { parseSafetensors } from "../../src/formats/safetensors/parse.ts";
import { readSafetensors } from "../../src/formats/safetensors/read.ts";
import { chooseHoles, skeletonRanges } from "../../src/model/holes.ts";
import { fuzz } from "./campaign.ts";
import { checkDraft } from "./check-draft.ts";
import { filesIn, lone, onlyFile } from "./fixtures.ts";
import { must } from "./must.ts";
import { changeHeader } from "./safetensors-header.ts";

fuzz({
  name: "safetensors",
  fixtures: lone(filesIn("safetensors", /\.safetensors$/)),
  read: ({ given, folder }) => readSafetensors(given, folder),
  check(draft, files, given) {
    checkDraft(draft);
    // Every byte after the header is a weight's.
    const [name, bytes] = onlyFile({ files, given });
    must(skeletonRanges(bytes.length, chooseHoles(draft)[0] ?? []).length === 1, "bytes belong to no weight");
    const names = Object.keys(parseSafetensors(bytes, name));
    must(names.length === draft.methods[0]?.weights.length, "the other parser finds other tensors");
  },
  refusesCut: () => true,
  mutate(random, fixture) {
    const [name, bytes] = onlyFile(fixture);
    return { files: { [name]: changeHeader(random, bytes) } };
  },
});
