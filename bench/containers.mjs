/**
 * Measures detach, attach, reading of heads and conversion against `cp`, `mlir-opt` and the `@huggingface/hub` reader, side by
 * side in one run. Prints ratios and whether the aim is met; asserts nothing. Takes 14 GB below build/bench for some
 * minutes; without `mlir-opt-22` (Debian's mlir-22-tools) its column stays empty. `BENCH_GIB=1` for a quick look.
 */
import { execFileSync, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { createReadStream, mkdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { createServer } from "node:http";
import { fileURLToPath } from "node:url";
import { parseSafetensorsMetadata } from "@huggingface/hub";
import prettyBytes from "pretty-bytes";
import { draftNamedData, openHttpModel } from "tare";
import { generateCheckpoint, generateProgram } from "./mlir-program.mjs";
import { heading, median, row, s } from "./print.mjs";

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const root = here("../build/bench/containers");
const cli = here("../dist/cli/main.js");
const sizes = process.env.BENCH_GIB ? [Number(process.env.BENCH_GIB)] : [0.25, 1, 4];
const ROUNDS = 3;
const GRACE = 150e6;
const hasLlvm = spawnSync("mlir-opt-22", ["--version"]).status === 0;

rmSync(root, { recursive: true, force: true });
mkdirSync(root, { recursive: true });
for (const gib of sizes) await measure(gib);
await measureHeads();
rmSync(root, { recursive: true, force: true });

async function measure(gib) {
  const [checkpoint, thin, fat] = ["weights.safetensors", "thin.mlir", "fat.mlirbc"].map(at);
  const { bytes, rows } = generateCheckpoint(checkpoint, gib * 2 ** 30);
  generateProgram(thin, rows);
  const steps = { cp: [], attach: [], named: [], detach: [], store: [], elide: [] };
  const conversions = {};
  if (hasLlvm) execFileSync("mlir-opt-22", [thin, "--emit-bytecode", "-o", at("declared.mlirbc")]);
  for (let round = 0; round < ROUNDS; round++) {
    steps.cp.push(await copy(checkpoint));
    if (hasLlvm) {
      // Fat by name from the checkpoint, thin by reference, and fat again by its own manifest.
      rmSync(fat, { force: true });
      steps.named.push(await tare("attach", at("declared.mlirbc"), "--from", checkpoint, "--out", fat));
      settle();
      steps.detach.push(await tare("detach", fat, "--in-place", "--out", at("thin.mlirbc")));
      steps.attach.push(await tare("attach", at("thin.mlirbc"), "--out", at("again.mlirbc")));
      const same = spawnSync("cmp", [fat, at("again.mlirbc")]).status === 0;
      if (!same) throw new Error("attach(detach(x)) is not x");
      for (const each of ["thin.mlirbc", "again.mlirbc"]) rmSync(at(each));
      settle();
      const args = ["detach", fat, "--out", at("thin.mlirbc"), "--as", "fat", "--store", at("store")];
      steps.store.push(await tare(...args));
      rmSync(at("thin.mlirbc"));
      rmSync(at("store"), { recursive: true });
      settle();
      const elide = ["--elide-resource-data-from-bytecode", "--emit-bytecode", "-o", "/dev/null"];
      steps.elide.push(await run("mlir-opt-22", [fat, ...elide]));
      rmSync(fat);
    }
    for (const ending of ["gguf", "irpa", "params", "ptd", "npz", "pt"]) {
      settle();
      (conversions[ending] ??= []).push(await tare("convert", checkpoint, at(`converted.${ending}`)));
      rmSync(at(`converted.${ending}`));
    }
  }
  heading(`${gib} GiB`, `${prettyBytes(bytes)} in float32 weights; all writers end when the disk has all`);
  const cp = median(steps.cp.map(({ ms }) => ms));
  row("cp, and sync", s(cp), "");
  if (hasLlvm) {
    print("mlir-opt, elide", steps.elide, cp);
    print("detach, in place", steps.detach, cp, "flat in size");
    print("detach into a store", steps.store, cp);
    print("attach, by reference", steps.attach, cp, "≥ 0.9 × cp", (ratio) => ratio >= 0.9);
    print("attach, from safetensors", steps.named, cp, "≥ 0.9 × cp", (ratio) => ratio >= 0.9);
  }
  for (const [ending, runs] of Object.entries(conversions)) print(`convert to .${ending}`, runs, cp);
}

function print(label, runs, cp, aim, met) {
  const ms = median(runs.map((each) => each.ms));
  const peak = Math.max(...runs.map((each) => each.peak));
  const ratio = cp / ms;
  const within = label.startsWith("mlir-opt") ? undefined : met ? met(ratio) && peak < GRACE : peak < GRACE;
  const wanted = [aim, "< 150 MB"].filter(Boolean).join(", ");
  row(label, `${s(ms)}, ${prettyBytes(peak)}`, `${ratio.toFixed(2)} × cp's speed`, within, wanted);
}

/** What a client of a web server does before it reads a weight: the time, and the requests. */
async function measureHeads() {
  const path = at("weights.safetensors");
  let requests = 0;
  const server = createServer((request, response) => {
    requests++;
    const [, first, last = ""] = /bytes=(\d+)-(\d*)/.exec(request.headers.range ?? "") ?? [];
    const { size } = statSync(path);
    if (first === undefined) {
      response.writeHead(200, { "content-length": size }).end();
      return;
    }
    const end = last === "" ? size - 1 : Math.min(Number(last), size - 1);
    response.writeHead(206, {
      etag: '"x"',
      "content-length": end - Number(first) + 1,
      "content-range": `bytes ${first}-${end}/${size}`,
    });
    createReadStream(path, { start: Number(first), end }).pipe(response);
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  const hub = `http://127.0.0.1:${server.address().port}`;
  const readers = {
    tare: async () =>
      draftNamedData(await openHttpModel(`${hub}/o/m/resolve/main/model.safetensors`)).keys().length,
    "@huggingface/hub": async () => {
      const { header } = await parseSafetensorsMetadata({
        repo: "o/m",
        path: "model.safetensors",
        hubUrl: hub,
      });
      return Object.keys(header).filter((name) => name !== "__metadata__").length;
    },
  };
  const times = {};
  const counts = {};
  let tensors = 0;
  for (const name of Object.keys(readers)) times[name] = [];
  for (let round = 0; round < 30; round++) {
    for (const [name, read] of Object.entries(readers)) {
      requests = 0;
      const began = performance.now();
      tensors = await read();
      times[name].push(performance.now() - began);
      counts[name] = requests;
    }
  }
  server.close();
  heading("a head over HTTP", `safetensors, ${tensors} tensors, on this machine`);
  const [ours, theirs] = Object.values(times).map(median);
  for (const [name, ms] of Object.entries(times)) row(name, `${s(median(ms))}, ${counts[name]} requests`, "");
  row("", "", `${(theirs / ours).toFixed(2)} × the hub reader's speed`);
}

async function copy(path) {
  settle();
  const result = await run("sh", ["-c", `cp "${path}" "${at("copy")}" && sync "${at("copy")}"`]);
  rmSync(at("copy"));
  return result;
}

function tare(...args) {
  return run(process.execPath, [cli, ...args, "--json"]);
}

/** Time and peak memory of a process, without those that it starts. */
async function run(command, args) {
  const began = performance.now();
  const child = spawn(command, args, { stdio: ["ignore", "ignore", "pipe"] });
  let peak = 0;
  let error = "";
  child.stderr.on("data", (text) => (error += text));
  const look = () => {
    try {
      const [, kb] = /VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${child.pid}/status`, "utf8")) ?? [];
      peak = Math.max(peak, Number(kb ?? 0) * 1024);
    } catch {
      // It has ended.
    }
  };
  const timer = setInterval(look, 5);
  const [code] = await once(child, "exit");
  clearInterval(timer);
  if (code !== 0) throw new Error(`${command} ${args.join(" ")}: ${error}`);
  return { ms: performance.now() - began, peak };
}

/** Nothing of one measurement is written during the next. */
function settle() {
  execFileSync("sync");
}

function at(name) {
  return `${root}/${name}`;
}
