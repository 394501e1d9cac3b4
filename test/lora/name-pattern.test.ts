import { describe, expect, test } from "vitest";
import { FormatError } from "../../src/errors.ts";
import { compileNamePattern, type NamePattern } from "../../src/lora/name-pattern.ts";

const NAMES = [
  "model.layers.0.self_attn.q_proj",
  "q_proj",
  "xq_proj",
  "model.layers.1.self_attn.v_proj",
  "model.layers.12.mlp.up_proj",
  "mlp",
  "x.q_proj.y",
  "model.layers.0.mlp",
  "aaaa.aaab",
  "qXproj",
  "v_proj\n",
];
/** Patterns and the names that `re.match(rf"(.*\\.)?({pattern})$", name)` of Python 3 matches, by index. */
const PYTHON: readonly [string, readonly number[]][] = [
  [".*\\.q_proj", [0]],
  ["q_proj", [0, 1]],
  ["^q_proj", [1]],
  ["^model.layers.0.self_attn.q_proj", [0]],
  ["layers\\.[0-3]\\..*", [0, 3, 7]],
  ["layers\\.(?:0|1)\\.self_attn\\.[qk]_proj", [0]],
  [".*(q|v)_proj", [0, 1, 2, 3, 10]],
  ["model\\..*\\.\\d+\\.mlp", [7]],
  ["q_proj|v_proj", [0, 1, 3, 10]],
  ["a)|(v_proj", [8, 10]],
  ["layers.\\d{1,2}.mlp.up_proj", [4]],
  ["[^.]+_proj", [0, 1, 2, 3, 4, 10]],
  ["(a+)+b", [8]],
  ["\\bq_proj\\b", [0, 1]],
  ["q.proj", [0, 1, 9]],
  ["(?P<n>q)_proj", [0, 1]],
  ["self_attn.*", [0, 3]],
  ["", []],
  ["$", []],
  [".*?_proj", [0, 1, 2, 3, 4, 10]],
  ["[]q]_proj", [0, 1]],
  ["layers\\.0\\.{1}self_attn\\.q_pro{0,2}j", [0]],
  ["x{,2}q_proj", [0, 1, 2]],
  ["q_{proj", []],
  ["\\w+\\Z", [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]],
  ["\\Amodel.*", [0, 3, 4, 7]],
  ["model\\.(layers\\.(0|1)\\.)?self_attn.*", [0, 3]],
  ["\\.q_proj", []],
  ["layers\\.1\\d*\\.mlp\\.up_proj", [4]],
  ["(a|aa|b|\\.)*", [8]],
  ["(q|)_proj", [0, 1]],
  ["\\S+\\.\\D+", [0, 3, 4, 6, 7, 8]],
  ["((x)?q)*_proj", [0, 1, 2]],
  ["[\\w.]{5,8}", [0, 1, 2, 3, 4, 6, 7, 9, 10]],
];

function compile(pattern: string): NamePattern {
  return compileNamePattern(pattern, (reason) => new FormatError("unsupported", reason));
}

describe("compileNamePattern()", () => {
  test.each(PYTHON)("matches what Python matches: %s", (pattern, indexes) => {
    const { matches } = compile(pattern);
    expect(NAMES.filter((name) => matches(name))).toEqual(indexes.map((index) => NAMES[index]));
  });

  test.each([
    "q(?=_proj)",
    "(?<!x)q_proj",
    "(?i)q_proj",
    "(?i:q)_proj",
    "(q)\\1",
    "(?P=n)",
    "q_proj)",
    "(q_proj",
    "[q",
    "*q",
    "q**",
    "q++",
    "^*q",
    "q{2000}",
    "q{3,2}",
    "[z-a]",
    "\\x41",
    "q\\",
    "q".repeat(2001),
    "(".repeat(60) + ")".repeat(60),
    "((((q{9}){9}){9}){9}){9}",
    "(((((q?){1000}){1000}){1000}){1000})",
  ])("refuses what it does not match: %s", (pattern) => {
    expect(() => compile(pattern)).toThrow(FormatError);
  });

  test("takes a time that grows with the name, not with the ways to match it", () => {
    const started = performance.now();
    const { matches } = compile("(a|a|aa|.*)*(a+)+(.*.*)*b");
    expect(matches("a".repeat(2000))).toBe(false);
    expect(compile("((((){1000}){1000}){1000}){1000}q").matches("q")).toBe(true);
    expect(performance.now() - started).toBeLessThan(2000);
  });
});
