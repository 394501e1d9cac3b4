import { type ErrorCode, FormatError } from "../../errors.ts";

/** Makes the error for what is wrong with a file, or with one weight of it. */
export type Fail = (
  code: ErrorCode,
  reason: string,
  offset?: number,
  tensor?: string,
  hint?: string,
) => FormatError;

/** What makes the errors of a file. */
export function failureIn({ name: path }: { readonly name: string }): Fail {
  return (code, reason, offset, tensor, hint) => {
    const subject = tensor === undefined ? `"${path}"` : `tensor "${shorten(tensor)}" of "${path}"`;
    return new FormatError(code, `Cannot read ${subject}: ${reason}`, { path, offset, tensor, hint });
  };
}

/** A name as messages have room for it. */
export function shorten(name: string): string {
  return name.length > 80 ? `${name.slice(0, 80)}…` : name;
}

/** What to do about a file that ends too early. */
export const CUT_OFF = "The file is cut off or damaged: get it again";
