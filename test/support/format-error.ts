import { expect } from "vitest";
import { FormatError } from "../../src/errors.ts";

/** The error that something throws, which is about a format. */
export function formatError(act: () => unknown): FormatError {
  try {
    act();
  } catch (error) {
    expect(error).toBeInstanceOf(FormatError);
    return error as FormatError;
  }
  throw new Error("nothing was thrown");
}
