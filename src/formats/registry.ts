import type { Format } from "./format.ts";

/** The formats tare reads, loaded on first use. */
const FORMATS: Readonly<Record<string, { extensions: readonly string[]; load: () => Promise<Format> }>> = {
  gguf: { extensions: [".gguf"], load: async () => (await import("./gguf/read.ts")).gguf },
  numpy: { extensions: [".npz", ".npy"], load: async () => (await import("./npy/read.ts")).numpy },
  onnx: { extensions: [".onnx"], load: async () => (await import("./onnx/read.ts")).onnx },
  safetensors: {
    extensions: [".safetensors"],
    load: async () => (await import("./safetensors/read.ts")).safetensors,
  },
};

/** Every file name extension of a model. */
export const MODEL_EXTENSIONS: readonly string[] = Object.values(FORMATS).flatMap((each) => each.extensions);

/** Extensions that lie beside a model as often as they are one: inputs and outputs. */
export const SIDE_EXTENSIONS: readonly string[] = FORMATS.numpy?.extensions ?? [];

/** The format of a file, by its name; `undefined` where no format claims it. */
export async function formatOf(path: string): Promise<Format | undefined> {
  const entry = Object.values(FORMATS).find((each) =>
    each.extensions.some((end) => path.toLowerCase().endsWith(end)),
  );
  return entry?.load();
}
