import { fileErrors, type FileFail } from "../../errors.ts";

/** The file of a header. */
export interface GgufFile {
  /** For errors. */
  readonly name: string;
  /** In bytes. */
  readonly size: number;
}

/** Returns what makes the errors of a file. */
export function ggufErrors(file: GgufFile): FileFail {
  return fileErrors(file, { part: "GGUF tensor" });
}
