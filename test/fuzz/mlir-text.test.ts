import { fillText, missingKeys, textManifest, thinText } from "../../src/formats/mlir/edit-text.ts";
import { memorySource } from "../../src/io/byte-source.ts";
import { readMlirText, textBlobs } from "../../src/formats/mlir/text.ts";
import type { ModelFile } from "../../src/formats/format.ts";
import { render } from "../support/mlir.ts";
import { fuzz } from "./campaign.ts";
import { filesIn, lone, onlyFile } from "./fixtures.ts";
import { must } from "./must.ts";
import type { Random } from "./random.ts";

const PIECES = [
  [
    '"',
    "\\",
    "{",
    "}",
    ":",
    ",",
    "{-#",
    "#-}",
    "//",
    "\n",
    "0x",
    "0X",
    "<",
    ">",
    "(",
    ")",
    "\\0A",
    '\\"',
    "\0",
  ],
  ["dense_resource<", 'dense_resource<"', "ml_program.global @x(", "#extern = #ml_program.extern", "\u00e9"],
  [
    "#ml_program.extern) : tensor<1xi8>",
    "tensor<4xf32>",
    "tensor<99999999999999999999xf32>",
    "vector<?xf32>",
  ],
  ["tensor<4x", "xi1", "complex<f32>", "dialect_resources: {", "external_resources: {", "builtin: {"],
  ['"0x04000000', '"0x00000000"', '"0xFFFFFFFF00"', '"0x040000000"', "true", "false", "tare", "null"],
].flat();

/** Other pieces in a text, and pieces of it that go, come twice or change places. */
function changeText(random: Random, original: string): string {
  let text = original;
  // Most of it in what is read best: the resources, and what names them.
  const places = [...text.matchAll(/dense_resource|\{-#|"|:|,|\{|\}|tensor|ml_program|0x/g)].map(
    ({ index }) => index,
  );
  for (let left = random.times(3); left > 0; left--) {
    const place = random.chance(0.7) ? random.pick(places) : random.below(text.length);
    const at = Math.min(place + random.below(4), text.length);
    switch (random.below(4)) {
      case 0:
        text = text.slice(0, at) + text.slice(at + 1 + random.below(12));
        break;
      case 1: {
        const from = random.pick(places);
        text = text.slice(0, at) + text.slice(from, from + 1 + random.below(80)) + text.slice(at);
        break;
      }
      case 2: {
        // Lines: an entry of the resources is one.
        const lines = text.split("\n");
        const [one, other] = [random.below(lines.length), random.below(lines.length)];
        if (random.chance(0.5)) lines.splice(one, 0, lines[other] as string);
        else [lines[one], lines[other]] = [lines[other] as string, lines[one] as string];
        text = lines.join("\n");
        break;
      }
      default:
        text = text.slice(0, at) + random.pick(PIECES) + text.slice(at + random.below(4));
    }
  }
  return text;
}

fuzz({
  name: "mlir-text",
  fixtures: lone(filesIn("mlir", /^small.*\.mlir$/)),
  async read({ given: [file] }) {
    const text = await readMlirText((file as ModelFile).source);
    return { text, blobs: await textBlobs(text) };
  },
  async check({ text: file, blobs }, files, given) {
    const [name, bytes] = onlyFile({ files, given });
    for (const { offset, length } of blobs)
      must(offset + 2 * length <= bytes.length, "a blob ends past the end");
    textManifest(file);
    const manifest = {
      file: { version: 1 } as const,
      weights: new Map(blobs.map(({ key, length, alignment }) => [key, { length, alignment }])),
    };
    const thin = await readMlirText(memorySource(render(thinText(file, manifest), bytes), name));
    const said = [...(textManifest(thin)?.weights ?? [])];
    must(JSON.stringify(said) === JSON.stringify([...manifest.weights]), "a thin text says other weights");
    const known = new Set([...missingKeys(file), ...blobs.map(({ key }) => key)]);
    must(
      [...missingKeys(thin)].every((key) => known.has(key)),
      "a thin text lacks what was not in it",
    );
    fillText(thin, manifest.weights);
  },
  // Before its resources it is a program without any, or one that ends within a string.
  refusesCut({ files }, path, end) {
    const text = new TextDecoder("latin1").decode(files[path]);
    const start = text.indexOf("\n{-#");
    return start >= 0 && end >= start + 4 && end < text.indexOf("#-}") + 3;
  },
  mutate(random, fixture) {
    const [name, bytes] = onlyFile(fixture);
    const changed = changeText(random, new TextDecoder("latin1").decode(bytes));
    return {
      files: {
        [name]: random.chance(0.5) ? Buffer.from(changed, "latin1") : new TextEncoder().encode(changed),
      },
    };
  },
});
