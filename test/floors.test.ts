import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";

const SRC = fileURLToPath(new URL("../src", import.meta.url));

/** What a format may import. */
const CONTAINER = ["errors.ts", "bytes", "encodings", "model", "formats/format.ts", "formats/failure.ts"];

/** Who may import whom, by room. A room that is not listed here fails the test: say first where it stands. */
const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
  "errors.ts": [],
  bytes: ["errors.ts"],
  encodings: ["errors.ts", "bytes"],
  model: ["errors.ts", "bytes"],
  quantization: ["errors.ts", "model"],
  "formats/format.ts": ["errors.ts", "bytes", "model"],
  "formats/signatures.ts": [],
  "formats/registry.ts": [
    "bytes",
    "formats/format.ts",
    "formats/signatures.ts",
    "formats/executorch",
    "formats/onnx",
    "formats/gguf",
    "formats/irpa",
    "formats/mlc",
    "formats/mlir",
    "formats/npy",
    "formats/pytorch",
    "formats/safetensors",
    "formats/tvm",
  ],
  "formats/failure.ts": ["errors.ts"],
  "formats/method-per-file.ts": ["bytes", "model", "formats/failure.ts", "formats/format.ts"],
  "formats/irpa": [...CONTAINER, "formats/method-per-file.ts"],
  "formats/mlc": [...CONTAINER, "formats/method-per-file.ts"],
  "formats/pytorch": [...CONTAINER, "formats/method-per-file.ts"],
  "formats/tvm": [...CONTAINER, "formats/method-per-file.ts"],
  "formats/mlir": ["errors.ts", "bytes", "encodings", "model", "formats/format.ts", "formats/failure.ts"],
  "formats/executorch": CONTAINER,
  "formats/onnx": ["errors.ts", "bytes", "encodings", "model", "formats/format.ts"],
  "formats/gguf": ["errors.ts", "bytes", "encodings", "model", "formats/format.ts", "formats/failure.ts"],
  "formats/npy": ["errors.ts", "bytes", "encodings", "model", "formats/format.ts", "formats/failure.ts"],
  "formats/safetensors": CONTAINER,
  store: ["errors.ts", "bytes", "model"],
  link: [
    "errors.ts",
    "bytes",
    "encodings",
    "model",
    "quantization",
    "formats/onnx",
    "formats/gguf",
    "formats/safetensors",
    "store",
  ],
  lora: ["errors.ts", "bytes", "encodings", "model", "formats/onnx", "formats/gguf", "quantization", "store"],
  compile: [
    "errors.ts",
    "bytes",
    "encodings",
    "model",
    "formats/format.ts",
    "formats/registry.ts",
    "formats/onnx",
    "store",
    "link",
  ],
  picture: ["errors.ts", "model"],
  engines: ["errors.ts", "bytes", "encodings", "model", "formats/onnx"],
  node: ["errors.ts", "bytes", "encodings", "model", "formats/format.ts", "formats/registry.ts", "store"],
  host: [
    "errors.ts",
    "bytes",
    "encodings",
    "model",
    "formats/executorch",
    "formats/irpa",
    "formats/tvm",
    "formats/mlc",
    "formats/npy",
    "formats/pytorch",
    "formats/onnx",
    "formats/gguf",
    "formats/mlir",
    "store",
    "link",
    "lora",
    "compile",
    "quantization",
    "formats/safetensors",
    "picture",
    "engines",
    "node",
  ],
  cli: [
    "errors.ts",
    "bytes",
    "encodings",
    "model",
    "formats/npy",
    "formats/safetensors",
    "link",
    "lora",
    "compile",
    "picture",
    "engines",
    "node",
    "host",
  ],
  "index.ts": [
    "errors.ts",
    "bytes",
    "model",
    "store",
    "link",
    "compile",
    "picture",
    "engines",
    "node",
    "host",
  ],
};
/** Rooms that need Node; all others run in a browser too. */
const NODE_ROOMS = ["engines", "node", "host", "cli"];

describe("floors", () => {
  const files = sources(SRC);

  test("are kept by every import", () => {
    expect(files.flatMap((file) => violations(file, readFileSync(join(SRC, file), "utf8")))).toEqual([]);
  });

  test.each([
    [
      "formats/onnx/read.ts",
      'import { x } from "../npy/parse.ts";',
      "formats/onnx may not import formats/npy",
    ],
    [
      "engines/onnxruntime/engine.ts",
      'import { x } from "../../node/view.ts";',
      "engines may not import node",
    ],
    ["bytes/byte-source.ts", 'export { x } from "../model/dtype.ts";', "bytes may not import model"],
    ["model/dtype.ts", 'import { readFileSync } from "node:fs";', "model may not import node:fs"],
    ["compile/blob-service.ts", 'import { x } from "../node/sha256.ts";', "compile may not import node"],
    ["compile/blob-service.ts", 'import { x } from "node:crypto";', "compile may not import node:crypto"],
    ["node/folder-sink.ts", 'import { x } from "../compile/chunks.ts";', "node may not import compile"],
    ["link/plan.ts", 'const x = await import("../cli/run.ts");', "link may not import cli"],
    ["attic/old.ts", "", 'room "attic/old.ts" is not listed'],
  ])("refuse a planted violation in %s", (file, text, message) => {
    expect(violations(file, text)).toEqual([expect.stringContaining(message)]);
  });
});

function violations(file: string, text: string): string[] {
  const room = roomOf(file);
  const allowed = room === undefined ? undefined : MAY_IMPORT[room];
  if (room === undefined || !allowed) return [`room "${file}" is not listed`];
  const found: string[] = [];
  for (const [, target = ""] of text.matchAll(/(?:from|import)\s*\(?\s*"([^"]+)"/g)) {
    if (target.startsWith("node:") && !NODE_ROOMS.includes(room))
      found.push(`${file}: ${room} may not import ${target}`);
    if (!target.startsWith(".")) continue;
    const other = roomOf(relative(SRC, resolve(SRC, dirname(file), target)));
    if (other === "../package.json" || other === room) continue;
    if (other === undefined || !allowed.includes(other))
      found.push(`${file}: ${room} may not import ${other ?? target}`);
  }
  return found;
}

/** The longest listed room that a file is in. */
function roomOf(file: string): string | undefined {
  if (file === "../package.json") return file;
  return Object.keys(MAY_IMPORT)
    .filter((room) => file === room || file.startsWith(`${room}/`))
    .sort((a, b) => b.length - a.length)[0];
}

function sources(folder: string): string[] {
  return readdirSync(folder, { recursive: true, encoding: "utf8" }).filter((name) => name.endsWith(".ts"));
}
