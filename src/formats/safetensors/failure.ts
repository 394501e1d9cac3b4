import { type ErrorCode, FormatError } from "../../errors.ts";

/** The file that a header is of. */
export interface SafetensorsFile {
  /** For errors. */
  readonly name: string;
  /** In bytes. */
  readonly size: number;
}

/** Makes the error for what is wrong with a file, or with one tensor of it. */
export type Fail = (
  code: ErrorCode,
  reason: string,
  offset?: number,
  tensor?: string,
  hint?: string,
) => FormatError;

/** What makes the errors of a file. */
export function failureIn({ name: path }: Pick<SafetensorsFile, "name">): Fail {
  return (code, reason, offset, tensor, hint) => {
    const subject = tensor === undefined ? `"${path}"` : `tensor "${shorten(tensor)}" of "${path}"`;
    return new FormatError(code, `Cannot read ${subject}: ${reason}`, { path, offset, tensor, hint });
  };
}

/** A name as messages have room for it. */
export function shorten(name: string): string {
  return name.length > 80 ? `${name.slice(0, 80)}…` : name;
}
