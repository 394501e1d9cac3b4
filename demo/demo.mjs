/**
 * The main job on real, small models: three of one family, stored once and run from one copy, as ONNX in two graphs
 * each and as GGUF.
 * Everything is written below build/demo.
 */
import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import { mkdir, rm, writeFile } from "node:fs/promises";
import { fileURLToPath, pathToFileURL } from "node:url";
import { promisify } from "node:util";
import prettyBytes from "pretty-bytes";
import { drawFamilyHtml, drawFamilySvg, familyMap, merge, openRuntime, openStore } from "tare";
import { rebuildCharlm } from "../fixtures/charlm/rebuild.mjs";
import { charlmGguf } from "../fixtures/charlm/rebuild-gguf.mjs";

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const folder = here("../build/demo");
const files = `${folder}/charlm`;
const expected = JSON.parse(readFileSync(here("../fixtures/charlm/expected.json"), "utf8"));
const { tokens } = JSON.parse(readFileSync(here("../fixtures/charlm/tokenizer.json"), "utf8"));
const models = ["base", "kjv", "licence"];

await mkdir(folder, { recursive: true });
await rm(`${folder}/store`, { recursive: true, force: true });
await rebuildCharlm(files);

console.log("1. Three character models of one family, two graphs each, into a store\n");
const store = await openStore({ path: `${folder}/store` });
for (const model of models) {
  const { fileBytes, newBytes } = await store.add([`${files}/${model}`]);
  console.log(`   ${model.padEnd(8)} ${size(fileBytes)} as files, ${size(newBytes)} new in the store`);
}
const { fileBytes, storedBytes } = await store.status();
console.log(`   ${"all".padEnd(8)} ${size(fileBytes)} as files, ${size(storedBytes)} stored once`);

console.log("\n2. All six graphs loaded, stock and through tare, each in a process of its own\n");
// The first load compiles each graph once for the whole family; what is compared is what every later process sees.
await child("tare", `${folder}/store`);
const stock = await child("stock", files);
const tare = await child("tare", `${folder}/store`);
console.log(`   ${"".padEnd(34)} ${"stock".padStart(9)} ${"tare".padStart(9)}`);
row("memory of the models (PSS)", prettyBytes(stock.memory), prettyBytes(Math.max(0, tare.memory)));
row("first model, both graphs", ms(stock.firstMs), ms(tare.firstMs));
row("each further model, both graphs", ms(stock.loadMs), ms(tare.loadMs));

console.log('\n3. What each makes of "And he said"\n');
let wrong = 0;
for (const model of models) {
  const right =
    String(tare.lines[model]) === String(expected[model].greedy_ids) &&
    String(stock.lines[model]) === String(expected[model].greedy_ids);
  if (!right) wrong++;
  console.log(
    `   ${model.padEnd(8)} ${JSON.stringify(text(tare.lines[model]))} ${right ? "✓ as expected" : "✗ NOT as expected"}`,
  );
}

console.log("\n4. The same models as GGUF (float16), and a fourth: base with a LoRA merged into it\n");
for (const model of models) {
  const { fileBytes, newBytes } = await store.add([await charlmGguf(model)], { as: `${model}-gguf` });
  console.log(`   ${model.padEnd(8)} ${size(fileBytes)} as a file, ${size(newBytes)} new in the store`);
}
await store.add([here("../fixtures/charlm/fortune-lora/fortune-lora-f32.gguf")], { as: "fortune-lora" });
const merged = await merge(store, "base-gguf", [{ model: "fortune-lora" }], { as: "fortune-gguf" });
console.log(
  `   ${"fortune".padEnd(8)} ${size(merged.newBytes)} new in the store, ${size(merged.sharedBytes)} shared with base`,
);

const tasks = [...models, "fortune"];
const expectedOf = {
  ...expected,
  fortune: JSON.parse(readFileSync(here("../fixtures/charlm/fortune-lora/expected.json"), "utf8")),
};
console.log("\n5. The four take turns in stock llama.cpp, one process, one copy of what they share\n");
const runtime = openRuntime(store);
const texts = runtime.openTexts({ keep: tasks.length, contextSize: 128, measure: true });
console.log(`   ${"".padEnd(8)} ${"swap to it".padStart(10)} ${"its own".padStart(9)}`);
for (const task of tasks) {
  const { session, ms: swapMs } = await texts.swap(`${task}-gguf`);
  const { prompt, greedy_ids, greedy_text } = expectedOf[task];
  const { text: said } = await session.generate(prompt, { maxTokens: greedy_ids.length });
  const right = said === greedy_text;
  if (!right) wrong++;
  const [{ newBytes }] = texts.loaded;
  console.log(
    `   ${task.padEnd(8)} ${ms(swapMs).padStart(10)} ${size(newBytes).padStart(9)}  ${JSON.stringify(said)} ${right ? "✓ as expected" : "✗ NOT as expected"}`,
  );
}
let back = 0;
for (const task of tasks) back += (await texts.swap(`${task}-gguf`)).ms;
console.log(`   all four stay loaded: swapping back takes ${(back / tasks.length).toFixed(1)} ms`);
const added = texts.loaded.map((each) => each.addedBytes).reverse();
if (added.every((each) => each !== undefined)) {
  const [first, ...further] = added;
  const all = further.reduce((sum, each) => sum + each, first);
  console.log(
    `   memory (PSS): ${prettyBytes(first)} for the first, ${prettyBytes(all)} for all four, most of it\n   the engine's own buffers: these models are tiny`,
  );
}
await texts[Symbol.asyncDispose]();
await runtime[Symbol.asyncDispose]();

const family = await familyMap(store, models);
await writeFile(`${folder}/family.html`, drawFamilyHtml(family));
await writeFile(`${folder}/family.svg`, drawFamilySvg(family));
console.log(`\n6. A picture of the family: ${pathToFileURL(`${folder}/family.html`)}`);
console.log(`\nGo on from here: npx tare --store ${store.path} ls`);
process.exitCode = wrong === 0 ? 0 : 1;

async function child(how, path) {
  const { stdout } = await promisify(execFile)(process.execPath, [
    "--expose-gc",
    here("child.mjs"),
    how,
    path,
  ]);
  return JSON.parse(stdout);
}

function row(label, a, b) {
  console.log(`   ${label.padEnd(34)} ${a.padStart(9)} ${b.padStart(9)}`);
}

function size(bytes) {
  return prettyBytes(bytes).padStart(8);
}

function ms(value) {
  return `${value.toFixed(0)} ms`;
}

function text(ids) {
  return ids.map((id) => (id === 3 ? "\n" : id > 3 ? tokens[id] : "")).join("");
}
