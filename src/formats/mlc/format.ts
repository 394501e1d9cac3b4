import type { Format } from "../format.ts";

const loadLayOut = async () => (await import("./lay-out.ts")).layOutTensorCache;

/** Tensor caches of MLC and WebLLM: a list, and shards beside it. */
export const mlc: Format = {
  id: "mlc",
  label: "MLC and WebLLM caches",
  extensions: [],
  names: ["tensor-cache.json", "ndarray-cache.json"],
  hasSignature: (start) => {
    const text = start.text();
    return /^\s*\{/.test(text) && /"(dataPath|ParamSize|ParamBytes)"\s*:/.test(text);
  },
  read: async (...model) => (await import("./read.ts")).readTensorCache(...model),
  writers: { "tensor-cache.json": loadLayOut, "ndarray-cache.json": loadLayOut },
};
