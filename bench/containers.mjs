/**
 * Measures detach, attach, reading of headers and conversion against `cp`, `mlir-opt` and the `@huggingface/hub` reader, side by
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
import { draftWeights, openHttpModel } from "tare/formats";
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
  const [checkpoint, program, declared, fat, thin, again] = [
    "weights.safetensors",
    "program.mlir",
    "declared.mlirbc",
    "fat.mlirbc",
    "thin.mlirbc",
    "again.mlirbc",
  ].map(at);
  const { bytes, rows } = generateCheckpoint(checkpoint, gib * 2 ** 30);
  generateProgram(program, rows);
  if (hasLlvm) execFileSync("mlir-opt-22", [program, "--emit-bytecode", "-o", declared]);
  const found = {};
  const step = async (name, source, command, args) =>
    (found[name] ??= []).push(await pair(source, command, args));
  const tare = (name, source, ...args) => step(name, source, process.execPath, [cli, ...args, "--json"]);
  for (let round = 0; round < ROUNDS; round++) {
    if (hasLlvm) {
      // Fat by name from the checkpoint, thin by reference, and fat again by what the thin one says.
      rmSync(fat, { force: true });
      await tare(
        "attach, from safetensors",
        checkpoint,
        "attach",
        declared,
        "--from",
        checkpoint,
        "--out",
        fat,
      );
      await tare("detach, in place", fat, "detach", fat, "--in-place", "--out", thin);
      await tare("attach, by reference", fat, "attach", thin, "--out", again);
      if (spawnSync("cmp", [fat, again]).status !== 0) throw new Error("attach(detach(x)) is not x");
      for (const each of [thin, again]) rmSync(each);
      const store = ["--as", "fat", "--store", at("store")];
      await tare("detach into a store", fat, "detach", fat, "--out", thin, ...store);
      rmSync(thin);
      rmSync(at("store"), { recursive: true });
      const elide = ["--elide-resource-data-from-bytecode", "--emit-bytecode", "-o", "/dev/null"];
      await step("mlir-opt, elide", fat, "mlir-opt-22", [fat, ...elide]);
      rmSync(fat);
    }
    for (const ending of ["gguf", "irpa", "ptd", "npz", "pt"]) {
      await tare(`convert to .${ending}`, checkpoint, "convert", checkpoint, at(`converted.${ending}`));
      rmSync(at(`converted.${ending}`));
    }
  }
  heading(
    `${gib} GiB`,
    `${prettyBytes(bytes)} in float32 weights; cp and all writers end when the disk has all`,
  );
  for (const [name, runs] of Object.entries(found)) {
    const [ms, cp, ratio] = ["ms", "cp", "ratio"].map((key) => median(runs.map((each) => each[key])));
    const peak = Math.max(...runs.map((each) => each.peak));
    const attach = name.startsWith("attach");
    const met = name.startsWith("mlir-opt") ? undefined : peak < GRACE && (!attach || ratio >= 0.9);
    const aim = `${attach ? "≥ 0.9, " : ""}< 150 MB`;
    row(name, `${s(ms)}, ${prettyBytes(peak)}; cp ${s(cp)}`, `${ratio.toFixed(2)} × its speed`, met, aim);
  }
}

/**
 * A command, and right before it `cp` of as many bytes: what memory and disk are like then is the same for both.
 * @param source what has the bytes
 */
async function pair(source, command, args) {
  const { ms: cp } = await run("sh", ["-c", `cp "${source}" "${at("copy")}" && sync "${at("copy")}"`]);
  rmSync(at("copy"));
  const { ms, peak } = await run(command, args);
  return { cp, ms, peak, ratio: cp / ms };
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
      draftWeights(await openHttpModel(`${hub}/o/m/resolve/main/model.safetensors`)).keys().length,
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
  heading("a header over HTTP", `safetensors, ${tensors} tensors, on this machine`);
  const [ours, theirs] = Object.values(times).map(median);
  for (const [name, ms] of Object.entries(times)) row(name, `${s(median(ms))}, ${counts[name]} requests`, "");
  row("", "", `${(theirs / ours).toFixed(2)} × the hub reader's speed`);
}

/** Time and peak memory of a process, without those that it starts. */
async function run(command, args) {
  // Nothing of one measurement is written, or freed, during the next.
  execFileSync("sync");
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

function at(name) {
  return `${root}/${name}`;
}
