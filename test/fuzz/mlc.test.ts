import { mlc } from "../../src/formats/mlc/format.ts";
import { type Files, type Fixture, fuzz } from "./campaign.ts";
import { checkDraft } from "./check-draft.ts";
import { filesIn } from "./fixtures.ts";
import { changeJson } from "./json.ts";

const KNOWN = [
  ["float32", "bfloat16", "float16", "int4", "uint8", "raw", "f32-to-bf16", "raw-shard", "../x", "/etc/x"],
  ["params_shard_0.bin", "params_shard_1.bin", "tensor-cache.json", "./params_shard_0.bin", "a/../b"],
]
  .flat()
  .map((text) => JSON.stringify(text));
const SHAPES = ["[2,2]", "[4]", "[1,4,1]", "[0]", "[]", "[65536,65536,65536,65536]", "[-1]"];

function cache(folder: string, list: string): Fixture {
  const files = filesIn(folder, /\.bin$|-cache\.json$/);
  return {
    files,
    given: [list],
    broken: [list, ...Object.keys(files).filter((name) => name.endsWith(".bin"))],
  };
}

fuzz({
  name: "mlc",
  fixtures: [
    cache("tvm/raw", "tensor-cache.json"),
    cache("tvm/bf16", "ndarray-cache.json"),
    cache("tvm/shards", "tensor-cache.json"),
  ],
  read: ({ given, folder }) => mlc.read(given, folder),
  check: checkDraft,
  // A line's end may follow the list.
  refusesCut: ({ files }, path, end) =>
    !path.endsWith(".json") ||
    new TextDecoder().decode((files[path] as Uint8Array).subarray(end)).trim() !== "",
  mutate(random, { files, given }) {
    const [list = ""] = given;
    const text = new TextDecoder().decode(files[list]);
    const changed: Record<string, Uint8Array> = {
      ...files,
      [list]: new TextEncoder().encode(changeJson(random, text, [...KNOWN, ...SHAPES])),
    };
    if (random.chance(0.1)) {
      const shard = random.pick(Object.keys(files).filter((name) => name.endsWith(".bin")));
      const bytes = files[shard] as Uint8Array;
      if (random.chance(0.3)) delete changed[shard];
      else changed[shard] = random.chance(0.5) ? bytes.subarray(1) : new Uint8Array(bytes.length + 1);
    }
    return { files: changed satisfies Files };
  },
});
