import type { Format } from "../format.ts";
import { MAGIC } from "./schema.ts";

/** Parameter archives of IREE. */
export const irpa: Format = {
  id: "irpa",
  label: "IREE parameters",
  extensions: [".irpa"],
  hasSignature: (start) => start.uint32(0) === MAGIC,
  read: async (...model) => (await import("./read.ts")).readIrpa(...model),
  writers: { ".irpa": async () => (await import("./lay-out.ts")).layOutIrpa },
};
