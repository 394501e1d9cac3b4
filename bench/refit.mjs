/**
 * Measures refits and swaps of weights against sessions that stock ONNX Runtime creates, side by side in one run: on a
 * model of 1 GB and few nodes, in two orientations, and on one of small weights and many nodes. Prints ratios and whether the aim is met;
 * asserts nothing. Takes 6 GB below build/bench for some minutes, and cleans up. The least of several rounds counts.
 * `BENCH_WIDTH=320 BENCH_ROUNDS=2 npm run bench -- refit` for a quick look.
 */
import { execFileSync } from "node:child_process";
import { mkdirSync, rmSync } from "node:fs";
import { fileURLToPath } from "node:url";
import prettyBytes from "pretty-bytes";
import { heading, row, s } from "./print.mjs";
import { generateRefit } from "./refit-family.mjs";

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const root = here("../build/bench/refit");
const rounds = process.env.BENCH_ROUNDS ?? "5";
const width = Number(process.env.BENCH_WIDTH ?? 1280);
/** What the process may take beside one copy: the engine's own. */
const GRACE = 60e6;

for (const shape of [
  { blocks: 19, width },
  { blocks: 17, width: (width / 20) * 21, transposed: true },
  { blocks: 242, width: 40 },
]) {
  rmSync(root, { recursive: true, force: true });
  mkdirSync(root, { recursive: true });
  try {
    measure(shape);
  } finally {
    rmSync(root, { recursive: true, force: true });
  }
}

function measure(shape) {
  const family = generateRefit(`${root}/files`, shape);
  const { base, tuned, checkpoint, part, bytes, partBytes } = family;
  const child = (what, ...args) => {
    const places = JSON.stringify({ ...family, ...shape, store: `${root}/store` });
    const command = ["--expose-gc", here("refit-child.mjs"), what, places, ...args];
    return JSON.parse(
      execFileSync(process.execPath, command, { encoding: "utf8", stdio: ["ignore", "pipe", "inherit"] }),
    );
  };
  // Put everything into the page cache and onto the disk, so that no measurement pays for an earlier write.
  execFileSync("sh", ["-c", `cat ${base}/* ${tuned}/* ${checkpoint} ${part} > /dev/null; sync`]);
  child("add", base, "base");
  execFileSync("sync");
  const fresh = child("fresh");
  const sha256sum = Math.min(...[0, 1, 2].map(() => timed("sha256sum", [checkpoint])));
  child("add", tuned, "tuned");
  execFileSync("sync");
  const times = child("times", rounds);
  const runs = child("runs", "31");
  const memory = Object.fromEntries(
    ["stock", "store", "file", "in-place"].map((how) => [how, child("memory", how).peak]),
  );

  const least = (name) => Math.min(...times[name]);
  const [packed, mapped] = [least("stock.packed"), least("stock.mapped")];
  const percent = (ms, of) => `${((ms / of) * 100).toFixed(1)} %`;
  const against = (ms) => `${percent(ms, packed)} of stock, ${percent(ms, mapped)} without prepacking`;
  const withLoad = (name) => least(name) + least(`${name}.load`);
  const parts = (name) => `${s(withLoad(name))}: bind ${s(least(name))}, load ${s(least(`${name}.load`))}`;

  heading(
    `${prettyBytes(bytes)}, ${family.nodes} nodes, ${family.weights} weights${shape.transposed ? " as PyTorch keeps them" : ""}`,
    "against stock's session, as shipped and without prepacking",
  );
  row("stock creates a session", `prepacked ${s(packed)}, not ${s(mapped)}`, "");
  row("compile, once for the family", s(least("compile")), against(least("compile")));
  row("load", s(least("load")), against(least("load")));
  const refit = withLoad("refit.store");
  row(
    "refit of all, from the store",
    parts("refit.store"),
    against(refit),
    refit <= packed * 0.03 && refit <= mapped * 0.1,
    "≤ 3 % and ≤ 10 %",
  );
  const file = withLoad("refit.file");
  row(
    "refit from a file, known",
    parts("refit.file"),
    `${(least("refit.file") / sha256sum).toFixed(2)} × sha256sum; ${against(file)}`,
  );
  row(
    "refit from a file, new",
    `${s(fresh.ms)}, ${prettyBytes(fresh.newBytes)} written`,
    `${(fresh.ms / sha256sum).toFixed(2)} × sha256sum`,
  );
  row(
    `refit of ${percent(partBytes, bytes)}, from a file`,
    parts("refit.part"),
    against(withLoad("refit.part")),
  );
  for (const how of ["in-place", "relink"]) {
    const [swap, again] = [least(`swap.${how}`), least(`swap.${how}.again`)];
    const run = least(`swap.${how}.run`);
    row(
      `swap of ${percent(partBytes, bytes)}, ${how}`,
      `${s(swap)}, once more ${s(again)}; the next run ${s(run)}`,
      against(swap),
    );
  }
  row("swap of all, loadModel", s(least("swap.model")), against(least("swap.model")));
  const run = Object.fromEntries(Object.entries(runs.times).map(([name, list]) => [name, Math.min(...list)]));
  row(
    "a run",
    `stock ${ms(run.stock)}, before ${ms(run.before)}, after a refit ${ms(run.after)}, ${verdict(runs)}`,
    `${(run.after / run.before).toFixed(2)} × before`,
    run.after <= run.before * 1.05,
    "the same, within noise",
  );
  for (const [how, label] of [
    ["store", "memory, base → other model"],
    ["file", "memory, base → refit from file"],
    ["in-place", "memory, swap in place"],
  ]) {
    row(
      label,
      `${prettyBytes(memory[how])} at most; stock, one after the other, ${prettyBytes(memory.stock)}`,
      `${(memory[how] / bytes).toFixed(2)} × the weights`,
      memory[how] <= bytes * 1.02 + GRACE,
      "one copy + 60 MB",
    );
  }
}

function verdict({ right, off }) {
  if (!right || !(off < 1e-4)) return `WRONG, off by ${off}`;
  return off === 0 ? "bit-equal to stock's" : `off from stock's by ${off.toExponential(1)}`;
}

function ms(value) {
  return `${value.toFixed(1)} ms`;
}

function timed(command, args) {
  const began = performance.now();
  execFileSync(command, args, { stdio: ["ignore", "ignore", "inherit"] });
  return performance.now() - began;
}
