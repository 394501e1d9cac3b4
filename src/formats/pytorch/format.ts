import type { Format } from "../format.ts";
import { LEGACY_MAGIC, PICKLE_NAME } from "./schema.ts";

/** Checkpoints of `torch.save`. */
export const pytorch: Format = {
  id: "pytorch",
  label: "PyTorch checkpoints",
  extensions: [".pt", ".pth"],
  isSide: true,
  looseTensors: "any",
  hasSignature: (start) => PICKLE_NAME.test(start.firstZipName()) || start.startsWith(LEGACY_MAGIC),
  read: async (...model) => (await import("./read.ts")).readPytorch(...model),
  writers: {
    ".pt": async () => (await import("./lay-out.ts")).layOutCheckpoint,
    ".pth": async () => (await import("./lay-out.ts")).layOutCheckpoint,
  },
};
