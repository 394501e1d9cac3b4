import { isBuiltin } from "node:module";
import { fileURLToPath } from "node:url";
import { Worker } from "node:worker_threads";
import type * as Tare from "tare/browser";
import { build, type Plugin, parseAst } from "vite";
import { beforeAll, describe, expect, test } from "vitest";
import { freeNames } from "../support/free-names.ts";

const ENTRY = fileURLToPath(new URL("../../dist/entries/browser.js", import.meta.url));

describe("tare/browser", () => {
  let bundle = "";
  beforeAll(async () => {
    bundle = await bundled(ENTRY);
  });

  test("bundles without a module of Node", () => {
    expect(bundle).toContain("drawFamilySvg");
  });

  test("asks first whether there is what only Node has", () => {
    expect([...freeNames(parseAst(bundle))].filter(isOfNode)).toEqual([]);
  });

  test("does its work where nothing of Node is", async () => {
    expect(await runBare(bundle, work)).toEqual({
      recognized: "safetensors",
      read: [1, 2, 3, 4],
      merged: ["a", "b"],
      streamed: 2,
      fresh: [true, false],
      files: 1,
      mismatch: "mismatch",
      models: [],
      svg: true,
    });
  });
});

test("an import of Node is refused", async () => {
  const entry = fileURLToPath(new URL("../../dist/entries/weights.js", import.meta.url));
  await expect(bundled(entry)).rejects.toThrow("needs node:");
});

test.each([
  ["process.cwd();", ["process"]],
  ["const a = { process: 1 }; a.process;", []],
  ["typeof process === 'object' && process.cwd();", []],
  ["if (typeof Buffer !== 'undefined') Buffer.from('');", []],
  ["const process = 1; process;", []],
  ["(x = require('a')) => x;", ["require"]],
])("freeNames() finds in %s what is not asked for first", (code, names) => {
  expect([...freeNames(parseAst(code))].filter(isOfNode)).toEqual(names);
});

/** What the page of an application does; it is sent as text, and sees its own scope only. */
async function work(tare: typeof Tare): Promise<unknown> {
  const createDigest = (): Tare.DigestStream => {
    let sum = 0;
    return {
      update: (bytes) => {
        for (const byte of bytes) sum = (sum * 31 + byte) % 2 ** 32;
      },
      digest: () => `sha256:${sum.toString(16).padStart(64, "0")}`,
    };
  };
  const head = '{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}}'.padEnd(56);
  const file = new Uint8Array(68);
  new DataView(file.buffer).setBigUint64(0, 56n, true);
  file.set(new TextEncoder().encode(head), 8);
  file.set([1, 2, 3, 4], 64);
  const source = tare.memorySource(file, "model.safetensors");

  const format = await tare.FORMATS.recognize({ path: source.name, source });
  const draft = await format?.read([{ path: source.name, source }], { open: async () => undefined });
  if (!draft) throw new TypeError("the file was not recognized");
  const weights = tare.draftWeights(draft);
  const read = new Uint8Array(4);
  await tare.loadWeight(weights, "a", read);
  const digest = await tare.hashWeight(weights, "a", { createDigest });
  const more = tare.memoryWeights({ b: { dtype: "uint8", shape: [2], bytes: Uint8Array.of(5, 6) } });
  const merged = await tare.mergeWeightSources([weights, more], { createDigest });
  let streamed = 0;
  for await (const { bytes } of tare.readWeights(merged)) streamed += bytes.byteLength > 0 ? 1 : 0;

  const blobs = new tare.BlobService({ sink: tare.memoryBlobs({ createDigest }), createDigest });
  const first = await blobs.put("a", read, { alignment: 64 });
  const second = await blobs.put("b", Uint8Array.of(1, 2, 3, 4));
  const { files } = blobs.shards({ maxBytes: 1024 });

  let mismatch = "";
  try {
    tare.matchWeights([{ name: "a", dtype: "float32", shape: [1] }], weights);
  } catch (error) {
    mismatch = error instanceof tare.WeightMismatchError ? error.code : String(error);
  }
  const svg = tare.drawFamilySvg({
    models: ["base", "tuned"].map((name) => ({
      name,
      fileBytes: 68,
      weights: [{ name: "a", digest, bytes: 4, dtype: "uint8", shape: [4] }],
    })),
  });
  return {
    recognized: format?.id,
    read: [...read],
    merged: merged.keys(),
    streamed,
    fresh: [first.fresh, second.fresh],
    files: files.length,
    mismatch,
    models: await tare.listModels(tare.memoryStore({ createDigest })),
    svg: svg.startsWith("<svg") && svg.includes("tuned"),
  };
}

/** One script that sets `tare`; a module of Node in it is an error. */
async function bundled(entry: string): Promise<string> {
  const withoutNode: Plugin = {
    name: "without-node",
    enforce: "pre",
    resolveId(id, importer) {
      if (isBuiltin(id)) throw new TypeError(`${importer} needs ${id}`);
    },
  };
  const result = await build({
    configFile: false,
    logLevel: "silent",
    plugins: [withoutNode],
    build: {
      write: false,
      minify: false,
      lib: { entry, formats: ["iife"], name: "tare", fileName: "browser" },
    },
  });
  const [output] = Array.isArray(result) ? result : [];
  const [chunk] = output?.output ?? [];
  if (chunk?.type !== "chunk") throw new TypeError("the bundle is no script");
  return chunk.code;
}

/** Runs a script, then a function over what it set, in a thread without what only Node has. */
function runBare(script: string, run: (tare: typeof Tare) => Promise<unknown>): Promise<unknown> {
  const thread = `
    const { parentPort, workerData } = require("node:worker_threads");
    const scope = globalThis;
    for (const name of workerData.names) delete scope[name];
    const left = workerData.names.filter((name) => name in scope);
    if (left.length > 0) throw new TypeError("there is still " + left.join());
    const evaluate = scope.eval;
    evaluate(workerData.script + ";globalThis.tare = tare;");
    evaluate("(" + workerData.run + ")")(scope.tare).then((result) => parentPort.postMessage(result));
  `;
  return new Promise((resolve, reject) => {
    const worker = new Worker(thread, {
      eval: true,
      workerData: { script, run: run.toString(), names: NODE_ALONE },
    });
    worker.once("message", resolve).once("error", reject);
  });
}

/** Globals that Node has and browsers do not. */
const NODE_ALONE = [
  "process",
  "Buffer",
  "global",
  "require",
  "module",
  "exports",
  "__filename",
  "__dirname",
  "setImmediate",
  "clearImmediate",
];

function isOfNode(name: string): boolean {
  return NODE_ALONE.includes(name);
}
