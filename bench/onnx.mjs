/**
 * Measures tare against the tools and the engine alone, side by side in one run, on a generated family of four models
 * of 1 GiB each of which 10 % is their own. Prints ratios and whether the aim is met; asserts nothing.
 * Takes 10 GB below build/bench for some minutes. `BENCH_BLOCKS=8 npm run bench -- onnx` for a quick look.
 */
import { execFileSync, spawnSync } from "node:child_process";
import { mkdirSync, rmSync } from "node:fs";
import { fileURLToPath } from "node:url";
import prettyBytes from "pretty-bytes";
import { generateFamily } from "./family.mjs";
import { folderBytes, heading, median, row, s } from "./print.mjs";

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const root = here("../build/bench");
const width = 2048;
const blocks = Number(process.env.BENCH_BLOCKS ?? 64);
const own = 0.1;
process.env.BENCH_WIDTH = String(width);
const GRACE = 60e6;
const ROUNDS = 3;

mkdirSync(root, { recursive: true });
const family = generateFamily(`${root}/family-${blocks}`, { models: 4, blocks, width, own });
const [first] = family;
const store = `${root}/store`;
const weightBytes = blocks * (width * width + width) * 4;
const ownBlocks = blocks - Math.ceil(blocks * (1 - own));
const ownBytes = ownBlocks * (width * width + width) * 4;
const ideal = weightBytes + 3 * ownBytes;
console.log(
  `4 models of ${prettyBytes(weightBytes)}, ${ownBlocks} of ${blocks} blocks their own; ideal ${prettyBytes(ideal)}\n`,
);

// Everything in the page cache, so that tools are compared and not who read the disk first.
for (const { folder } of family) execFileSync("sh", ["-c", `cat ${folder}/* > /dev/null`]);

const nodePeak = median(
  repeat(() => JSON.parse(node(["-e", "console.log(process.resourceUsage().maxRSS * 1024)"]))),
);
const adds = [];
for (let round = 0; round < ROUNDS; round++) {
  rmSync(store, { recursive: true, force: true });
  rmSync(`${root}/copy`, { recursive: true, force: true });
  settle();
  const cp = timed("cp", ["-r", first.folder, `${root}/copy`]);
  rmSync(`${root}/copy`, { recursive: true, force: true });
  settle();
  const sum = timed("sha256sum", [`${first.folder}/model.onnx.data`]);
  const add = child("add", store, first.folder, first.name);
  adds.push({ cp, sum, add: add.ms, peak: add.peak, ratio: Math.max(cp, sum) / add.ms });
}
const add = adds.toSorted((a, b) => a.ratio - b.ratio)[adds.length >> 1];
const later = family.slice(1).map(({ folder, name }) => child("add", store, folder, name));
const exported = child("export", store, family[1].name, `${root}/exported`);
const same =
  spawnSync("cmp", [`${root}/exported/model.onnx.data`, `${family[1].folder}/model.onnx.data`]).status === 0;
rmSync(`${root}/exported`, { recursive: true, force: true });

const names = family.map((each) => each.name);
const folders = family.map((each) => each.folder);
const shipped = child("stock", "shipped", ...folders);
const alike = child("stock", "same", ...folders);
const tare = child("tare", store, ...names);
const runs = child("runs", store, first.name, first.folder, "15");

heading("add", "against the slower of cp and sha256sum");
row(
  "first model",
  `cp ${s(add.cp)}, sha256sum ${s(add.sum)}, tare add ${s(add.add)}`,
  `${add.ratio.toFixed(2)} × the slower`,
  add.ratio >= 0.9,
  "≥ 0.9",
);
row(
  "fourth model, 90 % known",
  `tare add ${s(later[2].ms)}, ${prettyBytes(later[2].newBytes)} new`,
  `${(Math.max(add.cp, add.sum) / later[2].ms).toFixed(2)} × the slower`,
);
row(
  "peak memory of add",
  prettyBytes(add.peak),
  `${prettyBytes(add.peak - nodePeak)} over Node's own`,
  add.peak - nodePeak <= 150e6,
  "≤ 150 MB",
);
row(
  "peak memory of export",
  prettyBytes(exported.peak),
  `${prettyBytes(exported.peak - nodePeak)} over Node's own`,
  exported.peak - nodePeak <= 150e6,
  "≤ 150 MB",
);
row(
  "export",
  `${s(exported.ms)}, ${same ? "byte for byte" : "DIFFERENT"}`,
  `${(exported.ms / add.cp).toFixed(2)} × cp`,
);

heading("disk", "against the foundation and everyone's own parts");
const stored = folderBytes(store);
row(
  "4 models",
  `${prettyBytes(4 * weightBytes)} as files, ${prettyBytes(stored)} in the store`,
  `${(stored / ideal).toFixed(3)} × ideal`,
  stored <= ideal * 1.02 + GRACE,
  "≤ 1.02 × + 60 MB",
);

heading("load", "against stock, as shipped (it prepacks) and at tare's settings (it does not)");
for (const [index, nth] of [
  [0, "1st"],
  [3, "4th"],
]) {
  const [ours, theirs, equal] = [tare.times[index], shipped.times[index], alike.times[index]];
  const met = index === 3 ? ours / theirs <= 0.05 : undefined;
  row(
    `${nth} model`,
    `stock ${s(theirs)}, same settings ${s(equal)}, tare ${s(ours)}`,
    `${((ours / theirs) * 100).toFixed(1)} % of stock, ${((ours / equal) * 100).toFixed(0)} % at the same settings`,
    met,
    "≤ 5 % of stock",
  );
  row(
    `${nth} model, with its first run`,
    `stock ${s(theirs + shipped.firstRuns[index])}, same settings ${s(equal + alike.firstRuns[index])}, tare ${s(ours + tare.firstRuns[index])}`,
    "",
  );
}

heading("memory", "4 models loaded and run, PSS over the engine's own");
row(
  "4 models",
  `stock ${prettyBytes(shipped.memory)}, same settings ${prettyBytes(alike.memory)}, tare ${prettyBytes(tare.memory)}`,
  `${(tare.memory / ideal).toFixed(3)} × ideal, ${((tare.memory / shipped.memory) * 100).toFixed(0)} % of stock`,
  tare.memory <= ideal * 1.02 + GRACE,
  "≤ 1.02 × + 60 MB",
);

heading("run", "in turn in one process, at the same settings");
row(
  "one run",
  `stock ${runs.stockMs.toFixed(1)} ms, tare ${runs.tareMs.toFixed(1)} ms, ${runs.equal ? "bit-equal" : "NOT EQUAL"}`,
  `${runs.ratio.toFixed(3)} × stock`,
  runs.ratio <= 1.02,
  "≤ 1.02 ×",
);

function child(...args) {
  return JSON.parse(node(["--expose-gc", here("child.mjs"), ...args]));
}

function node(args) {
  return execFileSync(process.execPath, args, {
    encoding: "utf8",
    maxBuffer: 1e8,
    stdio: ["ignore", "pipe", "inherit"],
  });
}

function timed(command, args) {
  const began = performance.now();
  execFileSync(command, args, { stdio: ["ignore", "ignore", "inherit"] });
  return performance.now() - began;
}

/** Lets the disk finish what the last measurement left to it. */
function settle() {
  execFileSync("sync");
}

function repeat(work) {
  return Array.from({ length: ROUNDS }, work);
}
