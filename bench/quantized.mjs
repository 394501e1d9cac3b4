/**
 * Measures tare against ONNX Runtime as shipped (it prepacks), side by side in one run, on a generated family of four
 * 4-bit models of which 10 % is their own. Prints ratios and whether the aim is met; asserts nothing.
 * Takes 6 GB below build/bench for some minutes, and cleans up. `BENCH_LAYERS=12 npm run bench -- quantized` for a
 * quick look.
 */
import { execFileSync } from "node:child_process";
import { mkdirSync, rmSync } from "node:fs";
import { fileURLToPath } from "node:url";
import prettyBytes from "pretty-bytes";
import { folderBytes, heading, row, s } from "./print.mjs";
import { generateQuantizedFamily } from "./quantized-family.mjs";

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const root = here("../build/bench/quantized");
const layers = Number(process.env.BENCH_LAYERS ?? 60);
const width = 4096;
process.env.BENCH_WIDTH = String(width);

rmSync(root, { recursive: true, force: true });
mkdirSync(root, { recursive: true });
try {
  measure();
} finally {
  rmSync(root, { recursive: true, force: true });
}

function measure() {
  const family = generateQuantizedFamily(`${root}/files`, { models: 4, layers, width, own: 0.1 });
  const [{ weightBytes, ownBytes }] = family;
  const ideal = weightBytes + 3 * ownBytes;
  console.log(
    `4 models of ${prettyBytes(weightBytes)} in 4 bits, ${prettyBytes(ownBytes)} their own; ideal ${prettyBytes(ideal)}`,
  );
  const store = `${root}/store`;
  for (const { name, folder } of family) child("add", store, name, folder);
  for (const { folder } of family) execFileSync("sh", ["-c", `cat ${folder}/* > /dev/null`]);

  const names = family.map((each) => each.name);
  const folders = family.map((each) => each.folder);
  const before = folderBytes(store);
  const cold = child("load", "tare", store, ...names);
  const after = folderBytes(store);
  const warm = child("load", "tare", store, ...names);
  const stock = child("load", "stock", "", ...folders);
  const packed = child("packed", store);
  const runs = child("runs", store, names[3], folders[3]);

  heading("disk", "against the foundation and everyone's own parts");
  row("4 models", `${prettyBytes(4 * weightBytes)} as files, ${prettyBytes(before)} in the store`, "");
  row(
    "with packed files",
    `${prettyBytes(after)}: ${prettyBytes(packed.packed)} packed, and ${prettyBytes(packed.second)} second copies of weights`,
    `${(after / ideal).toFixed(2)} × ideal`,
  );

  heading("load", "against stock");
  for (const [label, index] of [
    ["1st", 0],
    ["4th", 3],
  ]) {
    const [ours, theirs] = [warm.times[index], stock.times[index]];
    row(
      `${label} model`,
      `stock ${s(theirs)}, tare ${s(ours)}, tare packing first ${s(cold.times[index])}`,
      `${((ours / theirs) * 100).toFixed(0)} % of stock`,
      index === 3 ? ours / theirs <= 0.25 : undefined,
      "≤ 25 %",
    );
  }

  heading("memory", "4 models loaded and run, over the engine's own");
  const packedIdeal = packed.packed + packed.rest;
  row(
    "PSS",
    `stock ${prettyBytes(stock.pss)}, tare ${prettyBytes(warm.pss)}, foundation and own as packed ${prettyBytes(packedIdeal)}`,
    `${(warm.pss / packedIdeal).toFixed(3)} × ideal, ${((warm.pss / stock.pss) * 100).toFixed(0)} % of stock`,
    warm.pss <= packedIdeal * 1.1,
    "≤ 1.1 ×",
  );
  row(
    "anonymous",
    `stock ${prettyBytes(stock.anonymous)}, tare ${prettyBytes(warm.anonymous)}, in the process that packed ${prettyBytes(cold.anonymous)}`,
    `${((warm.anonymous / stock.anonymous) * 100).toFixed(1)} % of stock`,
  );

  heading("run", "in turn in one process");
  for (const { rows, stockMs, tareMs, ratio, equal } of runs.rounds) {
    row(
      `${rows} row${rows > 1 ? "s" : ""}`,
      `stock ${stockMs.toFixed(1)} ms, tare ${tareMs.toFixed(1)} ms, ${equal ? "bit-equal" : "NOT EQUAL"}`,
      `${ratio.toFixed(3)} × stock's speed`,
      ratio >= 0.98 && equal,
      "≥ 0.98 ×, bit-equal",
    );
  }
}

function child(...args) {
  return JSON.parse(
    execFileSync(process.execPath, ["--expose-gc", here("quantized-child.mjs"), ...args], {
      encoding: "utf8",
      maxBuffer: 1e8,
      stdio: ["ignore", "pipe", "inherit"],
    }),
  );
}
