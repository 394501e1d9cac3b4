import { type ErrorCode, FormatError } from "../../errors.ts";

/** Makes the error for what is wrong with a file, or with one resource of it. */
export type Fail = (
  code: ErrorCode,
  reason: string,
  offset?: number,
  key?: string,
  hint?: string,
) => FormatError;

/** What makes the errors of a file. */
export function failureIn({ name: path }: { readonly name: string }): Fail {
  return (code, reason, offset, key, hint) => {
    const subject = key === undefined ? `"${path}"` : `resource "${shorten(key)}" of "${path}"`;
    return new FormatError(code, `Cannot read ${subject}: ${reason}`, { path, offset, tensor: key, hint });
  };
}

/** A name as messages have room for it. */
export function shorten(name: string): string {
  return name.length > 80 ? `${name.slice(0, 80)}…` : name;
}
