import { describe, expect, test } from "vitest";
import { fileErrors, FormatError, LinkError, operationError } from "../src/errors.ts";

describe("fileErrors()", () => {
  test("names the file, and the tensor where there is one", () => {
    const fail = fileErrors({ name: "a.gguf" }, { part: "GGUF tensor" });
    expect(fail("malformed", "it is empty")).toMatchObject({
      code: "malformed",
      message: 'Cannot read "a.gguf": it is empty',
      path: "a.gguf",
    });
    expect(fail("duplicate", "two have it", { tensor: "w", offset: 8, hint: "Rename it" })).toMatchObject({
      message: 'Cannot read GGUF tensor "w" of "a.gguf": two have it',
      path: "a.gguf",
      tensor: "w",
      offset: 8,
      hint: "Rename it",
    });
  });

  test("names the format of a file that is written", () => {
    const fail = fileErrors({ format: "irpa" });
    expect(fail("too-large", "it has no end").message).toBe("Cannot write irpa file: it has no end");
    const error = fail("duplicate", "it occurs twice", { tensor: "w" });
    expect(error.message).toBe('Cannot write tensor "w" as irpa: it occurs twice');
    expect(error).toBeInstanceOf(FormatError);
    expect(error.path).toBeUndefined();
  });

  test("includes the offset on demand", () => {
    const fail = fileErrors({ name: "a.json" }, { verb: "parse", showOffset: true });
    expect(fail("malformed", "no", { offset: 0 }).message).toBe('Cannot parse "a.json" at byte 0: no');
    expect(fail("malformed", "no").message).toBe('Cannot parse "a.json": no');
  });

  test("shortens names, and keeps them whole in the fields", () => {
    const tensor = "w".repeat(100);
    const error = fileErrors({ name: "x" })("duplicate", "no", { tensor });
    expect(error.message).toBe(`Cannot read tensor "${"w".repeat(80)}…" of "x": no`);
    expect(error.tensor).toBe(tensor);
  });
});

describe("operationError()", () => {
  test("makes an error of a class, with all details", () => {
    const cause = new TypeError("x");
    const error = operationError(LinkError, {
      code: "missing-weight",
      doing: 'link "base"',
      reason: 'it has no "w"',
      tensor: "w",
      cause,
    });
    expect(error).toBeInstanceOf(LinkError);
    expect(error).toMatchObject({ code: "missing-weight", tensor: "w", cause, name: "LinkError" });
    expect(error.message).toBe('Cannot link "base": it has no "w"');
    expect(operationError(LinkError, { code: "usage", doing: "add nothing" }).message).toBe(
      "Cannot add nothing",
    );
  });
});
