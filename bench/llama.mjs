/**
 * Measures tare against stock node-llama-cpp on the plain files, side by side in one run: four models of the llama
 * architecture (16 layers, 2048 wide) that have some 5 % of their bytes for themselves, as Q8_0, F16 and Q4_0, which
 * llama.cpp repacks. Prints ratios and whether the aim is met; asserts nothing. Takes 9 GB below build/bench for some
 * minutes, and cleans up. `BENCH_LAYERS=4 BENCH_TYPES=Q8_0 npm run bench -- llama` for a quick look.
 */
import { execFileSync, fork } from "node:child_process";
import { mkdirSync, readdirSync, rmSync } from "node:fs";
import { availableParallelism } from "node:os";
import { fileURLToPath } from "node:url";
import prettyBytes from "pretty-bytes";
import { generateGgufFamily, generateLora } from "./gguf-family.mjs";
import { folderBytes, heading, median, row, s } from "./print.mjs";

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const root = here("../build/bench/llama");
const layers = Number(process.env.BENCH_LAYERS ?? 16);
const types = (process.env.BENCH_TYPES ?? "Q8_0,F16,Q4_0").split(",");
const rounds = Number(process.env.BENCH_ROUNDS ?? 8);
const width = 2048;
const TOKENS = 24;

console.log(
  `llama.cpp on ${availableParallelism()} cores, as many threads; medians of ${rounds} rounds in turn`,
);
for (const type of types) {
  rmSync(root, { recursive: true, force: true });
  mkdirSync(`${root}/files`, { recursive: true });
  try {
    await measure(type);
  } finally {
    rmSync(root, { recursive: true, force: true });
  }
}

async function measure(type) {
  const shape = { type, models: 4, layers, width };
  const family = generateGgufFamily(`${root}/files`, shape);
  const [{ weightBytes, ownBytes }] = family;
  const ideal = weightBytes + 3 * ownBytes;
  const files = family.map((each) => each.path);
  const names = family.map((each) => each.name);
  console.log(
    `\n${type}: 4 models of ${prettyBytes(weightBytes)}, ${prettyBytes(ownBytes)} of each its own; ideal ${prettyBytes(ideal)}`,
  );
  const tare = await start("tare", `${root}/store`);
  const stock = await start("stock");
  for (const file of files) await tare.ask("add", [file]);
  const layOut = await tare.ask("load", names[0]);
  await stock.ask("load", files[0]);
  await tare.ask("release", names[0]);
  await stock.ask("release", files[0]);
  for (const name of names.slice(1)) {
    await tare.ask("load", name);
    await tare.ask("release", name);
  }
  const views = {};
  for (const name of names) views[name] = await ownFiles(tare, name);
  // Everything in the page cache, and all of it read in the same way: what was just written lies there otherwise.
  const all = [...files, ...storeFiles()];
  evict(all);
  for (const file of all) execFileSync("sh", ["-c", 'cat "$1" > /dev/null', "sh", file]);

  heading("disk", "against the foundation and everyone's own parts");
  const stored = folderBytes(`${root}/store/blobs`);
  row(
    "4 models",
    `${prettyBytes(4 * weightBytes)} as files, ${prettyBytes(stored)} in the store`,
    `${(stored / ideal).toFixed(3)} × ideal`,
    stored <= ideal * 1.05,
    "≤ 1.05 ×",
  );
  row("laying them out for llama.cpp", `${s(layOut)}, once, with the engine's start and the first load`, "");

  heading("load", "warm, one model after the other, against stock on the plain file");
  const loads = { stock: [], tare: [] };
  for (let round = 0; round < rounds; round++) {
    const nth = round % 4;
    loads.stock.push(await stock.ask("load", files[nth]));
    await stock.ask("release", files[nth]);
    loads.tare.push(await tare.ask("load", names[nth]));
    await tare.ask("release", names[nth]);
  }
  compare("load and context", loads, 1.2);

  heading("swap", "from one model to the next; stock: dispose, load, context");
  await tare.ask("pool", 1);
  await stock.ask("swap", files[0]);
  await tare.ask("swap", names[0]);
  const warm = { stock: [], tare: [] };
  for (let round = 1; round <= rounds; round++) {
    warm.stock.push(await stock.ask("swap", files[round % 4]));
    warm.tare.push(await tare.ask("swap", names[round % 4]));
  }
  compare("warm", pick(warm, "ready"), 1);
  compare("warm, with the first token", pick(warm, "first"), 1);
  const cold = { stock: [], tare: [] };
  for (let round = rounds + 1; round <= 2 * rounds; round++) {
    evict([files[round % 4]]);
    cold.stock.push(await stock.ask("swap", files[round % 4]));
    evict(views[names[round % 4]]);
    cold.tare.push(await tare.ask("swap", names[round % 4]));
  }
  compare("its own file evicted", pick(cold, "ready"), 1 / 3);
  compare("the same, with a first token", pick(cold, "first"));

  heading("memory", "4 models loaded and run, PSS over the started engine's own");
  await tare.ask("pool", 0);
  await stock.ask("release", files[(2 * rounds) % 4]);
  const idle = { stock: await stock.ask("memory"), tare: await tare.ask("memory") };
  await tare.ask("pool", 4, true);
  for (const [nth, name] of names.entries()) {
    await stock.ask("load", files[nth]);
    await stock.ask("turn", files[nth]);
    await tare.ask("swap", name);
  }
  const grown = {
    stock: (await stock.ask("memory")) - idle.stock,
    tare: (await tare.ask("memory")) - idle.tare,
  };
  // What stock has beside four times the weights: contexts, buffers, and the copies that it repacks.
  const overhead = Math.max(0, grown.stock - 4 * weightBytes);
  row(
    "4 models",
    `stock ${prettyBytes(grown.stock)} (${prettyBytes(overhead)} beside the weights), tare ${prettyBytes(grown.tare)}`,
    `${(grown.tare / (ideal + overhead)).toFixed(3)} × ideal and the same beside, ${((grown.tare / grown.stock) * 100).toFixed(0)} % of stock`,
    grown.tare <= ideal * 1.05 + overhead,
    "≤ 1.05 × ideal, and that",
  );
  for (const each of (await tare.ask("loaded")).reverse()) {
    const { model, loadMs, newBytes, addedBytes } = each;
    row(
      `  ${model}`,
      `${s(loadMs)}, ${prettyBytes(newBytes)} new weights, ${prettyBytes(addedBytes)} more`,
      "",
    );
  }

  heading("run", `${TOKENS} tokens at a time, in turn, all 4 models loaded`);
  const kept = { stock: [], tare: [] };
  for (let round = 0; round < rounds; round++) {
    kept.stock.push(await stock.ask("turn", files[round % 4]));
    kept.tare.push((await tare.ask("swap", names[round % 4])).first);
  }
  compare("switch to a loaded model", kept);
  await tare.ask("pool", 0);
  for (const name of names) {
    await tare.ask("load", name);
    // As stock did: both have read the prompt, and round alike from here on.
    await tare.ask("generate", name, 1);
  }
  const rates = { stock: [], tare: [] };
  let equal = true;
  for (let round = 0; round < rounds; round++) {
    const [ours, theirs] = [names[round % 4], files[round % 4]];
    const expected = await stock.ask("generate", theirs, TOKENS);
    const given = await tare.ask("generate", ours, TOKENS);
    equal &&= JSON.stringify(expected.tokens) === JSON.stringify(given.tokens);
    rates.stock.push(expected.rate);
    rates.tare.push(given.rate);
  }
  const ratio = median(rates.tare.map((rate, round) => rate / rates.stock[round]));
  row(
    "tokens/s",
    `stock ${median(rates.stock).toFixed(1)}, tare ${median(rates.tare).toFixed(1)}, ${equal ? "the same tokens" : "OTHER TOKENS"}`,
    `${ratio.toFixed(3)} × stock`,
    ratio >= 0.95,
    "≥ 0.95 ×",
  );
  await stock.end();
  for (const name of names) await tare.ask("release", name);
  await measureLora(tare, shape);
  await tare.end();
}

/** A LoRA laid over the model while it runs, against the same merged into it ahead. */
async function measureLora(tare, shape) {
  heading("LoRA", "of rank 16: laid over the model while it runs, against merged ahead; both in tare");
  const lora = generateLora(`${root}/files`, shape);
  await tare.ask("add", [lora.path]);
  const before = folderBytes(`${root}/store/blobs`);
  const mergeMs = await tare.ask("merge", "model-0", "lora", "merged");
  // Lays the family out anew, so that figures are of models as they stay.
  for (const name of ["merged", "model-0"]) {
    await tare.ask("load", name);
    await tare.ask("release", name);
  }
  const added = folderBytes(`${root}/store/blobs`) - before;
  row(
    "disk",
    `adapter ${prettyBytes(lora.weightBytes)}, merged ${prettyBytes(added)} (in ${s(mergeMs)})`,
    "",
  );
  const tasks = { adapter: "model-0+lora", merged: "merged" };
  const figures = {};
  for (const [key, name] of Object.entries(tasks)) {
    const loads = [];
    for (let round = 0; round < rounds; round++) {
      loads.push(await tare.ask("load", name));
      await tare.ask("release", name);
    }
    await tare.ask("load", "model-0");
    await tare.ask("generate", "model-0", 1);
    const grown = [];
    for (let round = 0; round < rounds; round++) {
      const idle = await tare.ask("memory");
      await tare.ask("load", name);
      await tare.ask("generate", name, 1);
      grown.push((await tare.ask("memory")) - idle);
      await tare.ask("release", name);
    }
    figures[key] = { load: median(loads), memory: median(grown), rates: [] };
    await tare.ask("release", "model-0");
    await tare.ask("pool", 1);
    const swaps = [];
    for (let round = 0; round < rounds; round++) {
      await tare.ask("swap", "model-0");
      swaps.push((await tare.ask("swap", name)).first);
    }
    figures[key].swap = median(swaps);
    await tare.ask("pool", 0);
  }
  for (const name of Object.values(tasks)) await tare.ask("load", name);
  for (let round = 0; round < rounds; round++)
    for (const [key, name] of Object.entries(tasks))
      figures[key].rates.push((await tare.ask("generate", name, TOKENS)).rate);
  const { adapter, merged } = figures;
  const pair = (label, of, print) =>
    row(
      label,
      `adapter ${print(of(adapter))}, merged ${print(of(merged))}`,
      `${(of(merged) / of(adapter)).toFixed(2)} × the adapter's`,
    );
  pair("memory beside the model", (each) => each.memory, prettyBytes);
  pair("load", (each) => each.load, s);
  pair("swap to its first token", (each) => each.swap, s);
  pair(
    "tokens/s",
    (each) => median(each.rates),
    (rate) => rate.toFixed(1),
  );
}

/** One figure of all rounds, of both sides. */
function pick({ stock, tare }, figure) {
  return { stock: stock.map((each) => each[figure]), tare: tare.map((each) => each[figure]) };
}

/** Prints times of both sides, and the ratio of their medians. */
function compare(label, { stock, tare }, aim) {
  const ratio = median(tare) / median(stock);
  row(
    label,
    `stock ${s(median(stock))} (least ${s(Math.min(...stock))}), tare ${s(median(tare))} (least ${s(Math.min(...tare))})`,
    `${ratio.toFixed(2)} × stock`,
    aim === undefined ? undefined : ratio <= aim,
    `≤ ${aim?.toFixed(2)} ×`,
  );
}

/** A side in a process of its own, which does one thing at a time. */
async function start(...args) {
  const child = fork(here("llama-child.mjs"), args, { execArgv: ["--expose-gc"], serialization: "advanced" });
  const answer = () =>
    new Promise((resolve, reject) => {
      const leave = (code) => reject(new Error(`${args[0]} ended with ${code}`));
      child.once("exit", leave);
      child.once("message", ({ result, error }) => {
        child.off("exit", leave);
        if (error === undefined) resolve(result);
        else reject(new Error(error));
      });
    });
  await answer();
  const ask = (op, ...rest) => {
    const answered = answer();
    child.send({ op, args: rest });
    return answered;
  };
  return {
    ask,
    async end() {
      await ask("end");
      child.kill();
    },
  };
}

/** Files of a model's view that no other model has: all but the foundation's shard. */
async function ownFiles(tare, name) {
  const { digest } = await tare.ask("show", name);
  const folder = `${root}/store/views/${digest.slice("sha256:".length)}`;
  return readdirSync(folder)
    .filter((file) => !file.includes("-00002-of-"))
    .map((file) => `${folder}/${file}`);
}

function storeFiles() {
  const folder = `${root}/store/blobs/sha256`;
  return readdirSync(folder).map((name) => `${folder}/${name}`);
}

/** Drops files from the page cache, as `posix_fadvise` does: only pages that no process has mapped. */
function evict(files) {
  for (const file of files) {
    execFileSync("sync", [file]);
    execFileSync("sh", ["-c", 'dd if="$1" iflag=nocache count=0', "sh", file], { stdio: "ignore" });
  }
}
