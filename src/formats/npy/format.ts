import type { Format } from "../format.ts";
import { MAGIC, SUFFIX } from "./schema.ts";

/** Arrays of NumPy, single and in archives. */
export const numpy: Format = {
  id: "numpy",
  label: "NumPy",
  extensions: [".npz", ".npy"],
  isSide: true,
  looseTensors: "any",
  hasSignature: (start) => start.startsWith(MAGIC) || start.firstZipName().endsWith(SUFFIX),
  read: async (...model) => (await import("./read.ts")).readNumpy(...model),
  writers: {
    ".npz": async () => (await import("./lay-out.ts")).layOutNpz,
    ".npy": async () => (await import("./lay-out.ts")).layOutNpy,
  },
};
