import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  describeRule,
  layerOf,
  parseSplitRule,
  parseSplitRules,
  ruleSelects,
} from "../../../src/operations/split/split-rules.ts";

describe("parseSplitRule()", () => {
  test.each([
    ["*attn*", { part: "adapter", names: "*attn*" }],
    ["*attn*@20-31", { part: "adapter", names: "*attn*", layers: [20, 31] }],
    ["@7", { part: "adapter", layers: [7, 7] }],
    ["a@b@1", { part: "adapter", names: "a@b", layers: [1, 1] }],
  ])("reads %s, and describeRule() writes it back", (text, rule) => {
    expect(parseSplitRule("adapter", text)).toEqual(rule);
    expect(describeRule(parseSplitRule("adapter", text))).toBe(`--adapter ${text}`);
  });

  test.each(["", "a@", "a@x", "@3-1", "@1-2-3", "@-1"])("refuses %j", (text) => {
    expect(() => parseSplitRule("adapter", text)).toThrow(/^Cannot use the rule/);
  });
});

describe("parseSplitRules()", () => {
  test("reads a file's rules in order", () => {
    const file = {
      rules: [
        { part: "foundation", names: "*norm*" },
        { part: "adapter", layers: "2-4" },
      ],
    };
    expect(parseSplitRules(file, "rules.json")).toEqual([
      { part: "foundation", names: "*norm*" },
      { part: "adapter", layers: [2, 4] },
    ]);
  });

  test.each([
    [{}, "malformed"],
    [{ rules: [{ part: "task" }] }, "malformed"],
    [{ rules: [{ part: "adapter", name: "typo" }] }, "malformed"],
    [{ rules: [{ part: "adapter", layers: "x" }] }, "usage"],
  ])("refuses %j", (file, code) => {
    expect(() => parseSplitRules(file, "rules.json")).toThrow(expect.objectContaining({ code }));
  });
});

describe("layerOf()", () => {
  test.each([
    ["blk.12.attn_q.weight", 12],
    ["model.layers.3.self_attn.q_proj.weight", 3],
    ["/model/layers.7/attn/MatMul.weight", 7],
    ["transformer.h.0.mlp.c_fc.weight", 0],
    ["output_norm.weight", undefined],
    ["onnx::MatMul_123", undefined],
  ])("finds the layer of %s", (name, layer) => {
    expect(layerOf(name)).toBe(layer);
  });
});

describe("ruleSelects()", () => {
  const pattern = (names: string, name: string): boolean => ruleSelects({ part: "adapter", names }, name);

  test("takes a pattern for the whole name", () => {
    expect(pattern("blk.?.attn_*", "blk.1.attn_q.weight")).toBe(true);
    expect(pattern("attn", "blk.1.attn_q.weight")).toBe(false);
    expect(pattern("blk.1.attn_q.weigh", "blk.1.attn_q.weight")).toBe(false);
    expect(pattern("a.c", "abc")).toBe(false);
    expect(ruleSelects({ part: "adapter", names: "*", layers: [1, 2] }, "blk.3.x")).toBe(false);
  });

  test("agrees with a regular expression, and stays fast where that would not", () => {
    const letters = fc.string({ unit: fc.constantFrom("a", "b", "*", "?"), maxLength: 8 });
    const names = fc.string({ unit: fc.constantFrom("a", "b"), maxLength: 8 });
    fc.assert(
      fc.property(letters, names, (glob, name) => {
        const regex = new RegExp(`^${glob.replaceAll("*", ".*").replaceAll("?", ".")}$`);
        return pattern(glob, name) === regex.test(name);
      }),
      { numRuns: 2000 },
    );
    expect(pattern(`${"*a".repeat(40)}b`, "a".repeat(20_000))).toBe(false);
  });
});
