import type { ReadOptions } from "../io/byte-source.ts";
import type { Format, ModelFile } from "./format.ts";
import { looksLikeMlir, looksLikeOnnx, MAGIC_BYTES, MAGIC_CHECKS } from "./magic.ts";

/** How the files of a format are called, and how it is loaded. */
interface Entry {
  readonly extensions: readonly string[];
  /** Whole names, where the extension says too little. */
  readonly names?: readonly string[];
  readonly load: () => Promise<Format>;
}

/** The formats tare reads, loaded on first use. */
const FORMATS: Readonly<Record<string, Entry>> = {
  executorch: {
    extensions: [".pte", ".ptd"],
    load: async () => (await import("./executorch/read.ts")).executorch,
  },
  gguf: { extensions: [".gguf"], load: async () => (await import("./gguf/read.ts")).gguf },
  irpa: { extensions: [".irpa"], load: async () => (await import("./irpa/read.ts")).irpa },
  mlc: {
    extensions: [],
    names: ["tensor-cache.json", "ndarray-cache.json"],
    load: async () => (await import("./mlc/read.ts")).mlc,
  },
  mlir: { extensions: [".mlirbc", ".mlir"], load: async () => (await import("./mlir/read.ts")).mlir },
  numpy: { extensions: [".npz", ".npy"], load: async () => (await import("./npy/read.ts")).numpy },
  onnx: { extensions: [".onnx"], load: async () => (await import("./onnx/read.ts")).onnx },
  pytorch: { extensions: [".pt", ".pth"], load: async () => (await import("./pytorch/read.ts")).pytorch },
  safetensors: {
    extensions: [".safetensors"],
    load: async () => (await import("./safetensors/read.ts")).safetensors,
  },
  "tvm-params": {
    extensions: [".params"],
    load: async () => (await import("./tvm-params/read.ts")).tvmParams,
  },
};

/** What the names of models end in, or are: for people. */
export const MODEL_FILES: readonly string[] = Object.values(FORMATS).flatMap((each) => [
  ...each.extensions,
  ...(each.names ?? []),
]);

/** Extensions that lie beside a model as often as they are one: inputs and outputs, the states of optimizers. */
export const SIDE_EXTENSIONS: readonly string[] = ["numpy", "pytorch"].flatMap(
  (each) => FORMATS[each]?.extensions ?? [],
);

/** Whether a file is a model, by its name. */
export function isModelFile(path: string): boolean {
  return entryOf(path) !== undefined;
}

/**
 * The format of a file: what its first bytes say, else its name, which stands for what has no signature of its own.
 * @returns `undefined` where neither says anything
 * @throws SourceError
 */
export async function recognizeFormat(
  { path, source }: ModelFile,
  options: ReadOptions = {},
): Promise<Format | undefined> {
  const head = await source.read(0, Math.min(source.size, MAGIC_BYTES), options);
  const view = new DataView(head.buffer, head.byteOffset, head.byteLength);
  const [id] = Object.entries(MAGIC_CHECKS).find(([, matches]) => matches(view, source.size)) ?? [];
  const entry = id === undefined ? entryOf(path) : FORMATS[id];
  return (entry ?? guess(head))?.load();
}

/** What bytes without a signature look like. */
function guess(head: Uint8Array): Entry | undefined {
  if (looksLikeOnnx(head)) return FORMATS.onnx;
  return looksLikeMlir(head) ? FORMATS.mlir : undefined;
}

/** The format of a stored model, by its id. */
export async function formatById(id: string): Promise<Format | undefined> {
  return Object.hasOwn(FORMATS, id) ? FORMATS[id]?.load() : undefined;
}

function entryOf(path: string): Entry | undefined {
  const name = path.toLowerCase().split("/").at(-1) ?? "";
  return Object.values(FORMATS).find(
    ({ extensions, names = [] }) => names.includes(name) || extensions.some((end) => name.endsWith(end)),
  );
}
