import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";

/** What each room of `src/` is for: the second line in its box. */
const PURPOSES = {
  "errors.ts": "TareError and its codes",
  io: "byte sources, streams, writers",
  encodings: "protobuf, flatbuffers, JSON, zip",
  tensor: "dtypes, digests, quantization",
  model: "draft, config, manifest, plan",
  formats: "the seam, and a folder for each",
  store: "the seam: blobs and names",
  node: "files, folders, worker threads",
  weights: "WeightSource: open and match",
  link: "program + weights = linked program",
  lora: "adapters, and how they merge",
  compile: "backends and compiled models",
  operations: "a folder for each verb",
  engines: "the seam, and a folder for each",
  runtime: "loaded models, pools, swaps",
  "local-store": "the store in a folder",
  picture: "the family map as SVG",
  "tare-store.ts": "openStore: the data of a store",
  entries: "tare/weights, compile, formats, …",
  cli: "a file for each verb",
};

/**
 * Reads the rooms of `src/` and who imports whom. A room is a folder, or a file of the root. A room needs Node if one of
 * its files, or a room below it, imports `node:` modules.
 * @param {string} src
 */
export function readRooms(src) {
  const imports = new Map();
  const node = new Set();
  for (const file of readdirSync(src, { recursive: true, encoding: "utf8" }).sort(inOrder)) {
    if (!file.endsWith(".ts")) continue;
    const room = roomOf(file);
    const others = imports.get(room) ?? new Set();
    imports.set(room, others);
    for (const [, target] of readFileSync(join(src, file), "utf8").matchAll(IMPORT)) {
      if (target.startsWith("node:")) node.add(room);
      if (!target.startsWith(".")) continue;
      const other = roomOf(relative(src, resolve(src, dirname(file), target)));
      if (other !== room && other !== "..") others.add(other);
    }
  }
  const imported = new Set([...imports.values()].flatMap((others) => [...others]));
  for (const name of imports.keys()) {
    if (PURPOSES[name] !== undefined || (name.endsWith(".ts") && !imported.has(name))) continue;
    throw new Error(
      `Room "${name}" has no purpose: add a line to PURPOSES in scripts/architecture/rooms.mjs`,
    );
  }
  const reached = new Map([...imports.keys()].map((name) => [name, reach(name, imports)]));
  return [...imports]
    .map(([name, others]) => ({
      name,
      // A file of the root that no other file imports is an entry of the package.
      isEntry: name.endsWith(".ts") && !imported.has(name),
      purpose: PURPOSES[name] ?? "an entry of the package",
      imports: [...others].sort(inOrder),
      reaches: reached.get(name),
      needsNode: [name, ...reached.get(name)].some((each) => node.has(each)),
    }))
    .sort((a, b) => inOrder(a.name, b.name));
}

const IMPORT = /(?:from|import)\s*\(?\s*"([^"]+)"/g;

function roomOf(file) {
  return file.split(/[\\/]/)[0];
}

/** The order of code units, which is the same everywhere. */
function inOrder(a, b) {
  return a < b ? -1 : 1;
}

/** Every room that a room imports, directly or through others. */
function reach(name, imports, seen = new Set()) {
  for (const other of imports.get(name) ?? []) {
    if (seen.has(other)) continue;
    seen.add(other);
    reach(other, imports, seen);
  }
  return seen;
}
