import { type ErrorCode, FormatError } from "../errors.ts";

/** Makes the error for what is wrong with a file, or with one tensor of it. */
export type Fail = (
  code: ErrorCode,
  reason: string,
  offset?: number,
  tensor?: string,
  hint?: string,
) => FormatError;

/**
 * What makes the errors of a file.
 * @param what the format calls a tensor
 */
export function failureIn({ name: path }: { readonly name: string }, what = "tensor"): Fail {
  return (code, reason, offset, tensor, hint) => {
    const subject = tensor === undefined ? `"${path}"` : `${what} "${shorten(tensor)}" of "${path}"`;
    return new FormatError(code, `Cannot read ${subject}: ${reason}`, { path, offset, tensor, hint });
  };
}

/** What makes the errors of a file that is to be written. */
export function refusalOf(
  format: string,
): (code: ErrorCode, reason: string, tensor?: string, hint?: string) => FormatError {
  return (code, reason, tensor, hint) => {
    const subject = tensor === undefined ? `${format} file` : `tensor "${shorten(tensor)}" as ${format}`;
    return new FormatError(code, `Cannot write ${subject}: ${reason}`, { tensor, hint });
  };
}

/** The error for two files whose models would have the same name. */
export function sameName(path: string, name: string): FormatError {
  return new FormatError(
    "duplicate",
    `Cannot read "${path}": another file given with it is named "${shorten(name)}" too`,
    { path, hint: "Add each model by itself" },
  );
}

/** A name as messages have room for it. */
export function shorten(name: string): string {
  return name.length > 80 ? `${name.slice(0, 80)}…` : name;
}
