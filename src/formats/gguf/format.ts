import type { Format } from "../format.ts";
import { MAGIC } from "./schema.ts";

/** Models of llama.cpp. */
export const gguf: Format = {
  id: "gguf",
  label: "GGUF",
  extensions: [".gguf"],
  hasSignature: (start) => start.startsWith(MAGIC),
  read: async (...model) => (await import("./read.ts")).readGguf(...model),
  writers: { ".gguf": async () => (await import("./lay-out.ts")).layOutGguf },
};
