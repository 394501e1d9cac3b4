import type { Format } from "../format.ts";
import { DATA_LETTERS, PROGRAM_LETTERS } from "./schema.ts";

/** Programs and data files of ExecuTorch. */
export const executorch: Format = {
  id: "executorch",
  label: "ExecuTorch",
  extensions: [".pte", ".ptd"],
  hasSignature: (start) => new RegExp(`^(${PROGRAM_LETTERS}|${DATA_LETTERS})\\d\\d$`).test(start.text(4, 8)),
  read: async (...model) => (await import("./read.ts")).readExecutorch(...model),
  writers: { ".ptd": async () => (await import("./lay-out-data.ts")).layOutData },
};
