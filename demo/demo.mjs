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
import { drawFamilyHtml, drawFamilySvg, openStore } from "tare";
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

console.log("\n4. The same models as GGUF (float16), in stock llama.cpp: all loaded at once over one copy\n");
for (const model of models) {
  const { fileBytes, newBytes } = await store.add([await charlmGguf(model)], { as: `${model}-gguf` });
  console.log(`   ${model.padEnd(8)} ${size(fileBytes)} as a file, ${size(newBytes)} new in the store`);
}
const loaded = [];
for (const model of models) {
  const began = performance.now();
  const session = await store.loadText(`${model}-gguf`, { contextSize: 128 });
  loaded.push({ model, session, loadMs: performance.now() - began });
}
for (const { model, session, loadMs } of loaded) {
  const { prompt, greedy_ids, greedy_text } = expected[model];
  const { text: said } = await session.generate(prompt, { maxTokens: greedy_ids.length });
  if (said !== greedy_text) wrong++;
  const verdict = said === greedy_text ? "✓ as expected" : "✗ NOT as expected";
  console.log(
    `   ${model.padEnd(8)} loaded in ${ms(loadMs).padStart(7)}  ${JSON.stringify(said)} ${verdict}`,
  );
}
await store[Symbol.asyncDispose]();

const family = await store.map(models);
await writeFile(`${folder}/family.html`, drawFamilyHtml(family));
await writeFile(`${folder}/family.svg`, drawFamilySvg(family));
console.log(`\n5. A picture of the family: ${pathToFileURL(`${folder}/family.html`)}`);
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
