import { type ErrorCode, FormatError } from "../../errors.ts";
import { shorten } from "../failure.ts";

/** The file that a header is of. */
export interface GgufFile {
  /** For errors. */
  readonly name: string;
  /** In bytes. */
  readonly size: number;
}

/** Makes the error for what is wrong with a file. */
export function failure(
  file: GgufFile,
  code: ErrorCode,
  reason: string,
  offset?: number,
  hint?: string,
): FormatError {
  const { name: path } = file;
  return new FormatError(code, `Cannot read "${path}": ${reason}`, { path, offset, hint });
}

/** Makes the error for what is wrong with one tensor. */
export function tensorFailure(
  file: GgufFile,
  code: ErrorCode,
  tensor: string,
  reason: string,
  offset: number,
  hint?: string,
): FormatError {
  const { name: path } = file;
  const message = `Cannot read GGUF tensor "${shorten(tensor)}" of "${path}": ${reason}`;
  return new FormatError(code, message, { path, tensor, offset, hint });
}
