import { fileErrors, type FileFail } from "../../errors.ts";

/** A file whose header is parsed. */
export interface GgufFile {
  /** Names the file in errors. */
  readonly name: string;
  /** In bytes. */
  readonly size: number;
}

/** Returns what makes the errors of a file. */
export function ggufErrors(file: GgufFile): FileFail {
  return fileErrors(file, { part: "GGUF tensor" });
}
