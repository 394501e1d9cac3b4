import type { Format } from "../format.ts";
import { LIST_MAGIC } from "./schema.ts";

/** Parameters of Apache TVM. */
export const tvmParams: Format = {
  id: "tvm-params",
  label: "TVM parameters",
  extensions: [".params"],
  hasSignature: (start) => start.uint64(0) === LIST_MAGIC,
  read: async (...model) => (await import("./read.ts")).readTvmParams(...model),
  writers: { ".params": async () => (await import("./lay-out.ts")).layOutTvmParams },
};
