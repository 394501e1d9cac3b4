import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";

const SRC = fileURLToPath(new URL("../src", import.meta.url));

const MAX_LINES = 400;
const MAX_MEDIAN_LINES = 100;

/** Who may import whom, by room. A room that is not listed here fails the test: say first where it stands. */
const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
  "errors.ts": [],
  io: ["errors.ts"],
  encodings: ["errors.ts", "io"],
  tensor: ["errors.ts", "io"],
  model: ["errors.ts", "io", "tensor"],
  "formats/file-start.ts": ["encodings"],
  "formats/lay-out.ts": ["tensor"],
  "formats/lay-out-archive.ts": ["encodings", "formats/lay-out.ts"],
  "formats/place-weights.ts": ["errors.ts", "tensor", "formats/lay-out.ts"],
  "formats/format.ts": ["io", "model", "formats/file-start.ts", "formats/lay-out.ts"],
  "formats/create-registry.ts": ["io", "formats/file-start.ts", "formats/lay-out.ts", "formats/format.ts"],
  "formats/registry.ts": [
    "io",
    "formats/format.ts",
    "formats/create-registry.ts",
    "formats/executorch",
    "formats/gguf",
    "formats/irpa",
    "formats/mlc",
    "formats/mlir",
    "formats/npy",
    "formats/onnx",
    "formats/pytorch",
    "formats/safetensors",
    "formats/tvm-params",
  ],
  "formats/failure.ts": ["errors.ts"],
  "formats/method-per-file.ts": ["io", "model", "formats/format.ts", "formats/failure.ts"],
  "formats/executorch": [
    "errors.ts",
    "io",
    "encodings",
    "tensor",
    "model",
    "formats/lay-out.ts",
    "formats/place-weights.ts",
    "formats/format.ts",
    "formats/failure.ts",
  ],
  "formats/gguf": [
    "errors.ts",
    "io",
    "tensor",
    "model",
    "formats/lay-out.ts",
    "formats/place-weights.ts",
    "formats/format.ts",
    "formats/failure.ts",
  ],
  "formats/irpa": [
    "errors.ts",
    "io",
    "encodings",
    "tensor",
    "model",
    "formats/lay-out.ts",
    "formats/place-weights.ts",
    "formats/format.ts",
    "formats/method-per-file.ts",
  ],
  "formats/mlc": [
    "errors.ts",
    "io",
    "encodings",
    "tensor",
    "model",
    "formats/lay-out.ts",
    "formats/format.ts",
    "formats/method-per-file.ts",
  ],
  "formats/mlir": ["errors.ts", "io", "encodings", "tensor", "model", "formats/format.ts"],
  "formats/npy": [
    "errors.ts",
    "io",
    "encodings",
    "tensor",
    "model",
    "formats/lay-out.ts",
    "formats/lay-out-archive.ts",
    "formats/place-weights.ts",
    "formats/format.ts",
  ],
  "formats/onnx": ["errors.ts", "io", "encodings", "tensor", "model", "formats/format.ts"],
  "formats/pytorch": [
    "errors.ts",
    "io",
    "encodings",
    "tensor",
    "model",
    "formats/lay-out.ts",
    "formats/lay-out-archive.ts",
    "formats/format.ts",
    "formats/method-per-file.ts",
  ],
  "formats/safetensors": [
    "errors.ts",
    "io",
    "encodings",
    "tensor",
    "model",
    "formats/lay-out.ts",
    "formats/place-weights.ts",
    "formats/format.ts",
    "formats/failure.ts",
  ],
  "formats/tvm-params": [
    "errors.ts",
    "io",
    "tensor",
    "model",
    "formats/lay-out.ts",
    "formats/place-weights.ts",
    "formats/format.ts",
    "formats/method-per-file.ts",
  ],
  store: ["errors.ts", "io", "encodings", "tensor", "model", "formats/registry.ts"],
  weights: [
    "errors.ts",
    "io",
    "tensor",
    "model",
    "formats/format.ts",
    "formats/registry.ts",
    "store",
    "node",
  ],
  link: [
    "errors.ts",
    "io",
    "encodings",
    "tensor",
    "model",
    "formats/gguf",
    "formats/onnx",
    "store",
    "weights",
    "engines",
    "local-store",
    "node",
  ],
  lora: [
    "errors.ts",
    "io",
    "encodings",
    "tensor",
    "model",
    "formats/gguf",
    "formats/onnx",
    "formats/safetensors",
    "store",
  ],
  compile: [
    "errors.ts",
    "io",
    "encodings",
    "tensor",
    "model",
    "formats/onnx",
    "store",
    "weights",
    "link",
    "engines",
    "local-store",
    "node",
  ],
  engines: ["errors.ts", "io", "encodings", "tensor", "model", "formats/onnx", "weights", "link"],
  operations: [
    "errors.ts",
    "io",
    "encodings",
    "tensor",
    "model",
    "formats/lay-out.ts",
    "formats/create-registry.ts",
    "formats/registry.ts",
    "formats/executorch",
    "formats/gguf",
    "formats/mlir",
    "formats/npy",
    "formats/safetensors",
    "store",
    "weights",
    "link",
    "lora",
    "engines",
    "local-store",
    "node",
    "picture",
  ],
  "local-store": ["errors.ts", "io", "encodings", "tensor", "model", "store", "node"],
  node: ["errors.ts", "io", "tensor", "model", "formats/format.ts", "formats/registry.ts"],
  runtime: [
    "errors.ts",
    "tensor",
    "model",
    "store",
    "weights",
    "link",
    "lora",
    "compile",
    "engines",
    "operations",
    "local-store",
    "node",
  ],
  picture: [],
  "tare-store.ts": ["store", "weights", "operations", "local-store", "node"],
  cli: [
    "errors.ts",
    "io",
    "encodings",
    "tensor",
    "weights",
    "link",
    "lora",
    "compile",
    "engines",
    "operations",
    "local-store",
    "node",
    "runtime",
    "picture",
    "tare-store.ts",
  ],
  "entries/weights.ts": ["errors.ts", "io", "tensor", "weights", "node"],
  "entries/compile.ts": [
    "errors.ts",
    "io",
    "encodings",
    "tensor",
    "model",
    "formats/onnx",
    "store",
    "weights",
    "compile",
    "engines",
    "local-store",
    "node",
  ],
  "entries/formats.ts": [
    "errors.ts",
    "io",
    "tensor",
    "model",
    "formats/file-start.ts",
    "formats/lay-out.ts",
    "formats/format.ts",
    "formats/create-registry.ts",
    "formats/registry.ts",
    "weights",
  ],
  "entries/browser.ts": [
    "errors.ts",
    "io",
    "tensor",
    "formats/create-registry.ts",
    "formats/registry.ts",
    "store",
    "weights",
    "compile",
    "picture",
  ],
  "index.ts": [
    "errors.ts",
    "io",
    "tensor",
    "model",
    "store",
    "weights",
    "link",
    "lora",
    "engines",
    "operations",
    "local-store",
    "runtime",
    "picture",
    "tare-store.ts",
  ],
};
/** Rooms that need Node; all others run in a browser too. */
const NODE_ROOMS = [
  "engines",
  "node",
  "local-store",
  "link",
  "compile",
  "weights",
  "operations",
  "lora",
  "runtime",
  "tare-store.ts",
  "cli",
];

describe("floors", () => {
  const files = sources(SRC);

  test("are kept by every import", () => {
    expect(files.flatMap((file) => violations(file, read(file)))).toEqual([]);
  });

  test("allow no more than there is", () => {
    const imports = new Set(
      files.flatMap((file) => importsOf(file, read(file)).map((other) => `${roomOf(file)} ${roomOf(other)}`)),
    );
    const allowed = Object.entries(MAY_IMPORT).flatMap(([room, others]) =>
      others.map((other) => `${room} ${other}`),
    );
    expect(allowed.filter((each) => !imports.has(each))).toEqual([]);
  });

  test.each([
    [
      "formats/onnx/read.ts",
      'import { x } from "../npy/parse.ts";',
      "formats/onnx may not import formats/npy",
    ],
    [
      "engines/onnxruntime/engine.ts",
      'import { x } from "../../node/file-source.ts";',
      "engines may not import node",
    ],
    ["io/byte-source.ts", 'export { x } from "../tensor/dtype.ts";', "io may not import tensor"],
    ["tensor/dtype.ts", 'import { readFileSync } from "node:fs";', "tensor may not import node:fs"],
    ["store/memory-blobs.ts", 'import { x } from "node:crypto";', "store may not import node:crypto"],
    ["node/file-source.ts", 'import { x } from "../compile/backends.ts";', "node may not import compile"],
    ["link/onnx-program.ts", 'const x = await import("../cli/run.ts");', "link may not import cli"],
    ["attic/old.ts", "", 'room "attic/old.ts" is not listed'],
  ])("refuse a planted violation in %s", (file, text, message) => {
    expect(violations(file, text)).toEqual([expect.stringContaining(message)]);
  });
});

describe("files", () => {
  const files = sources(SRC);

  test("import each other in no circle, not even types", () => {
    expect(circles(new Map(files.map((file) => [file, importsOf(file, read(file))])))).toEqual([]);
  });

  test("have circles that circles() finds", () => {
    const imports = new Map([
      ["a", ["b", "d"]],
      ["b", ["c"]],
      ["c", ["b"]],
      ["d", ["e"]],
      ["e", ["a"]],
    ]);
    expect(circles(imports)).toEqual(["b -> c -> b", "a -> d -> e -> a"]);
  });

  test(`are small: at most ${MAX_LINES} lines, half of them at most ${MAX_MEDIAN_LINES}`, () => {
    const lines = files.map((file) => ({ file, lines: read(file).split("\n").length - 1 }));
    expect(lines.filter((each) => each.lines > MAX_LINES)).toEqual([]);
    const sorted = lines.map((each) => each.lines).sort((a, b) => a - b);
    expect(sorted[Math.floor(sorted.length / 2)]).toBeLessThanOrEqual(MAX_MEDIAN_LINES);
  });
});

/** Circles of imports, one for each import that leads back to a file on the way to it. */
function circles(imports: ReadonlyMap<string, readonly string[]>): string[] {
  const found: string[] = [];
  const done = new Set<string>();
  const visit = (file: string, way: readonly string[]): void => {
    if (way.includes(file)) found.push([...way.slice(way.indexOf(file)), file].join(" -> "));
    if (done.has(file)) return;
    done.add(file);
    for (const other of imports.get(file) ?? []) visit(other, [...way, file]);
  };
  for (const file of imports.keys()) visit(file, []);
  return found;
}

function violations(file: string, text: string): string[] {
  const room = roomOf(file);
  const allowed = room === undefined ? undefined : MAY_IMPORT[room];
  if (room === undefined || !allowed) return [`room "${file}" is not listed`];
  const found = targetsOf(text)
    .filter((target) => target.startsWith("node:") && !NODE_ROOMS.includes(room))
    .map((target) => `${file}: ${room} may not import ${target}`);
  for (const target of importsOf(file, text)) {
    const other = roomOf(target);
    if (other === room) continue;
    if (other === undefined || !allowed.includes(other))
      found.push(`${file}: ${room} may not import ${other ?? target}`);
  }
  return found;
}

/** The files of `src` that a file imports, their types too. */
function importsOf(file: string, text: string): string[] {
  return targetsOf(text)
    .filter((target) => target.startsWith(".") && target.endsWith(".ts"))
    .map((target) => relative(SRC, resolve(SRC, dirname(file), target)));
}

function targetsOf(text: string): string[] {
  return [...text.matchAll(/(?:from|import)\s*\(?\s*"([^"]+)"/g)].map(([, target = ""]) => target);
}

/** The longest listed room that a file is in. */
function roomOf(file: string): string | undefined {
  return Object.keys(MAY_IMPORT)
    .filter((room) => file === room || file.startsWith(`${room}/`))
    .sort((a, b) => b.length - a.length)[0];
}

function read(file: string): string {
  return readFileSync(join(SRC, file), "utf8");
}

function sources(folder: string): string[] {
  return readdirSync(folder, { recursive: true, encoding: "utf8" }).filter((name) => name.endsWith(".ts"));
}
