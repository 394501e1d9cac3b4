import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { parseStrictJson } from "../../src/encodings/json.ts";
import { FormatError } from "../../src/errors.ts";
import { LONG, SAMPLED, some } from "../support/speed.ts";

function thrown(text: string, start?: number): FormatError {
  try {
    parseStrictJson(text, "x.json", start);
  } catch (error) {
    expect(error).toBeInstanceOf(FormatError);
    expect(error).toMatchObject({ path: "x.json" });
    return error as FormatError;
  }
  throw new Error("nothing was thrown");
}

describe("parseStrictJson()", () => {
  test("gives what JSON.parse does", () => {
    fc.assert(
      fc.property(fc.json(), (text) => {
        expect(parseStrictJson(text, "x")).toEqual(JSON.parse(text));
      }),
    );
  });

  test("refuses everything that JSON.parse refuses", SAMPLED, () => {
    const piece = fc.constantFrom(
      ..."{}[],:\"\\0123456789.eE+-truefalsn \n\t\u00a0\ufeff/*'ux".split(""),
      '"a"',
      "1",
      "null",
    );
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 12 }), (pieces) => {
        const text = pieces.join("");
        let valid = true;
        try {
          JSON.parse(text);
        } catch {
          valid = false;
        }
        if (!valid) expect(thrown(text).code).toBe("malformed");
      }),
      { numRuns: some(5000) },
    );
  });

  test("refuses a text cut off anywhere", () => {
    const text = '{"a": [1, {"b": "\\u00e9"}, null], "c": {"d": -1.5e3}}';
    for (let end = 0; end < text.length; end++) {
      expect(thrown(text.slice(0, end))).toMatchObject({ code: "malformed", offset: expect.any(Number) });
    }
  });

  test.each([
    ['{"a": 1, "a": 2}', 9],
    ['{"a": 1, "\\u0061": 1}', 9],
    ['[{"b": {}}, {"x": {"y": [{"a": 1, "b": 2, "a": {}}]}}]', 42],
    ['{"__proto__": 1, "__proto__": 1}', 17],
    ['{"ä": 1, "ä": 1}', 10],
    ['{"a\\\\": "{", "b": ["a", "a"], "a\\\\": 1}', 30],
  ])("refuses a key that stands twice: %s", (text, offset) => {
    expect(thrown(text)).toMatchObject({ code: "duplicate", offset });
  });

  test("names the key and the byte, counted from the start of the file", () => {
    const error = thrown('{"a": 1, "a": 2}', 8);
    expect(error.message).toBe('Cannot parse "x.json" at byte 17: it has the key "a" twice');
    expect(error.offset).toBe(17);
  });

  test("lets objects beside and inside each other have the same key", () => {
    expect(parseStrictJson('[{"a": {"a": 1}, "b": {"a": 2}}, {"a": 3}]', "x")).toEqual([
      { a: { a: 1 }, b: { a: 2 } },
      { a: 3 },
    ]);
  });

  test("keeps __proto__ an ordinary property", () => {
    const value = parseStrictJson('{"__proto__": {"polluted": true}}', "x") as object;
    expect(Object.getPrototypeOf(value)).toBe(Object.prototype);
    expect(Object.keys(value)).toEqual(["__proto__"]);
    expect(({} as { polluted?: boolean }).polluted).toBeUndefined();
  });

  test("reads 128 levels and refuses one more", () => {
    const nested = (depth: number): string => "[".repeat(depth) + "]".repeat(depth);
    expect(() => parseStrictJson(nested(128), "x")).not.toThrow();
    expect(thrown(nested(129))).toMatchObject({ code: "too-large", offset: 128 });
    expect(thrown("[".repeat(1_000_000)).code).toBe("too-large");
    expect(thrown('{"a":'.repeat(1_000_000)).code).toBe("too-large");
  });

  test("refuses keys that engines do not hash, and lets values be of any length", () => {
    const key = (length: number): string => `{"a":{},"${"x".repeat(length)}":1}`;
    expect(() => parseStrictJson(key(16_382), "x")).not.toThrow();
    expect(thrown(key(16_384))).toMatchObject({ code: "too-large", offset: 8 });
    expect(parseStrictJson(`["${"x".repeat(20_000)}"]`, "x")).toHaveLength(1);
  });

  test("goes over spaces, lists of nothing and what is not JSON without holding any", LONG, () => {
    const spaces = " ".repeat(40_000_000);
    expect(parseStrictJson(`{${spaces}}`, "x")).toEqual({});
    expect(thrown(`{${spaces}`)).toMatchObject({ code: "malformed", offset: undefined });
    expect(thrown(`{"a":[${"[],".repeat(1_000_000)}[]],"a":1}`)).toMatchObject({ code: "duplicate" });
  });

  test("refuses over 128 Mi characters without looking at them", () => {
    expect(thrown(" ".repeat(128 * 2 ** 20 + 1)).code).toBe("too-large");
  });
});
