import { readSafetensors } from "../../src/formats/safetensors/read.ts";
import { fuzz } from "./campaign.ts";
import { checkDraft } from "./check-draft.ts";
import { filesIn } from "./fixtures.ts";
import { changeJson } from "./json.ts";
import { changeHeader } from "./safetensors-header.ts";

const INDEX = "model.safetensors.index.json";
const FILES = filesIn("safetensors/sharded", /\.safetensors(\.index\.json)?$/);
const SHARDS = Object.keys(FILES).filter((name) => name !== INDEX);
const KNOWN = [...SHARDS, INDEX, "../x", "/x", "model-00001-of-00009.safetensors"].map((name) => `"${name}"`);

fuzz({
  name: "safetensors-sharded",
  fixtures: [
    { files: FILES, given: SHARDS },
    { files: FILES, given: SHARDS.slice(0, 1) },
  ],
  read: ({ given, folder }) => readSafetensors(given, folder),
  check: checkDraft,
  // The last byte of the index is a line's end.
  refusesCut: ({ files }, path, end) => path !== INDEX || end < (files[path] as Uint8Array).length - 1,
  mutate(random) {
    const changed: Record<string, Uint8Array> = { ...FILES };
    for (let left = random.times(2); left > 0; left--) {
      const name = random.chance(0.5) ? INDEX : random.pick(SHARDS);
      const bytes = FILES[name] as Uint8Array;
      changed[name] =
        name === INDEX
          ? new TextEncoder().encode(changeJson(random, new TextDecoder().decode(bytes), KNOWN))
          : changeHeader(random, bytes);
    }
    const given = random.shuffled(SHARDS).slice(random.below(SHARDS.length));
    const [kept = "", other = ""] = random.shuffled(SHARDS);
    // A shard that is gone, or another one by its name.
    if (random.chance(0.1) && !given.includes(kept)) delete changed[kept];
    else if (random.chance(0.1)) changed[kept] = FILES[other] as Uint8Array;
    return { files: changed, given };
  },
});
