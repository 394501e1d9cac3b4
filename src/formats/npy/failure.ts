import { type ErrorCode, FormatError } from "../../errors.ts";

/** Makes the error for what is wrong at an offset of an array's own bytes. */
export type Fail = (code: ErrorCode, reason: string, offset: number, hint?: string) => FormatError;

/**
 * How an array's errors say where it lies.
 * @param tensor its name, if it is one of several in the file
 * @param place turns an offset of the array's bytes into one of the file
 */
export function failureIn(
  path: string,
  tensor?: string,
  place: (offset: number) => number = (offset) => offset,
): Fail {
  const subject = tensor === undefined ? `"${path}"` : `tensor "${tensor}" of "${path}"`;
  return (code, reason, offset, hint) =>
    new FormatError(code, `Cannot read ${subject}: ${reason}`, { path, tensor, offset: place(offset), hint });
}
