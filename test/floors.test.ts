import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";

const SRC = fileURLToPath(new URL("../src", import.meta.url));

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
  "formats/create-registry.ts": ["io", "formats/file-start.ts", "formats/format.ts", "formats/lay-out.ts"],
  "formats/registry.ts": [
    "io",
    "formats/create-registry.ts",
    "formats/format.ts",
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
    "formats/format.ts",
    "formats/failure.ts",
    "formats/lay-out.ts",
    "formats/place-weights.ts",
  ],
  "formats/gguf": [
    "errors.ts",
    "io",
    "tensor",
    "model",
    "formats/format.ts",
    "formats/failure.ts",
    "formats/lay-out.ts",
    "formats/place-weights.ts",
  ],
  "formats/irpa": [
    "errors.ts",
    "io",
    "encodings",
    "tensor",
    "model",
    "formats/format.ts",
    "formats/failure.ts",
    "formats/method-per-file.ts",
    "formats/lay-out.ts",
    "formats/place-weights.ts",
  ],
  "formats/mlc": [
    "errors.ts",
    "io",
    "encodings",
    "tensor",
    "model",
    "formats/format.ts",
    "formats/failure.ts",
    "formats/method-per-file.ts",
    "formats/lay-out.ts",
  ],
  "formats/mlir": [
    "errors.ts",
    "io",
    "encodings",
    "tensor",
    "model",
    "formats/format.ts",
    "formats/failure.ts",
  ],
  "formats/npy": [
    "errors.ts",
    "io",
    "encodings",
    "tensor",
    "model",
    "formats/format.ts",
    "formats/failure.ts",
    "formats/lay-out.ts",
    "formats/lay-out-archive.ts",
    "formats/place-weights.ts",
  ],
  "formats/onnx": ["errors.ts", "io", "encodings", "tensor", "model", "formats/format.ts"],
  "formats/pytorch": [
    "errors.ts",
    "io",
    "encodings",
    "tensor",
    "model",
    "formats/format.ts",
    "formats/failure.ts",
    "formats/method-per-file.ts",
    "formats/lay-out.ts",
    "formats/lay-out-archive.ts",
  ],
  "formats/safetensors": [
    "errors.ts",
    "io",
    "encodings",
    "tensor",
    "model",
    "formats/format.ts",
    "formats/failure.ts",
    "formats/lay-out.ts",
    "formats/place-weights.ts",
  ],
  "formats/tvm-params": [
    "errors.ts",
    "io",
    "tensor",
    "model",
    "formats/format.ts",
    "formats/failure.ts",
    "formats/method-per-file.ts",
    "formats/lay-out.ts",
    "formats/place-weights.ts",
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
    "operations",
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
  engines: ["errors.ts", "io", "encodings", "tensor", "model", "formats/onnx", "weights"],
  operations: [
    "errors.ts",
    "io",
    "encodings",
    "tensor",
    "model",
    "formats/create-registry.ts",
    "formats/lay-out.ts",
    "formats/registry.ts",
    "formats/executorch",
    "formats/gguf",
    "formats/mlir",
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
  "local-store": ["errors.ts", "io", "encodings", "tensor", "model", "formats/registry.ts", "store", "node"],
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
  "tare-store.ts": [
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
    "runtime",
    "picture",
  ],
  cli: [
    "errors.ts",
    "io",
    "encodings",
    "tensor",
    "model",
    "formats/npy",
    "formats/safetensors",
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
  "index.ts": [
    "errors.ts",
    "io",
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
