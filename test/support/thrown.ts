import { expect } from "vitest";
import { TareError } from "../../src/errors.ts";

/** The typed error that something ends with; anything else fails the test. */
export async function thrown(acting: Promise<unknown> | (() => Promise<unknown>)): Promise<TareError> {
  const error = await (typeof acting === "function" ? acting() : acting).then(
    () => "nothing was thrown",
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(TareError);
  return error as TareError;
}
