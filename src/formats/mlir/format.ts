import type { Format } from "../format.ts";
import { MAGIC } from "./schema.ts";

/** Programs of MLIR with their resources, as bytecode or as text. */
export const mlir: Format = {
  id: "mlir",
  label: "MLIR",
  extensions: [".mlirbc", ".mlir"],
  hasSignature: (start) => start.startsWith(MAGIC),
  // Text has no signature: the first thing in it that is no comment tells.
  resembles: (start) =>
    /^("?builtin\.module"?|module|func\.func|ml_program\.\w+|llvm\.\w+)\b|^[#!][A-Za-z_][\w.$]* = |^\{-#/.test(
      start.text().replace(/^(\s+|\/\/[^\n]*\n)+/, ""),
    ),
  read: async (...model) => (await import("./read.ts")).readMlir(...model),
};
