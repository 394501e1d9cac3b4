import type { Format } from "../format.ts";
import { PREFIX } from "./schema.ts";

/** Tensors of Hugging Face. */
export const safetensors: Format = {
  id: "safetensors",
  label: "safetensors",
  extensions: [".safetensors"],
  // The length of the header, which fits the file, and the brace that the header starts with.
  hasSignature: (start) =>
    start.bytes[PREFIX] === 0x7b && (start.uint64(0) ?? 0n) <= BigInt(Math.max(0, start.size - PREFIX)),
  read: async (...model) => (await import("./read.ts")).readSafetensors(...model),
  writers: { ".safetensors": async () => (await import("./lay-out.ts")).layOutSafetensors },
};
