import { describe, expect, test } from "vitest";
import { alignWeights } from "../../src/picture/align.ts";
import type { FamilyMap } from "../../src/picture/family-map.ts";
import { model } from "./family.ts";

function aligned(map: FamilyMap): [names: string, sharing: string][] {
  return alignWeights(map).map(({ names, cells }) => [
    names.join(" "),
    cells.map((cell) => cell?.sharing ?? "-").join(" "),
  ]);
}

describe("alignWeights()", () => {
  test("lines weights up by name, in the order of the first model that has them", () => {
    const map = { models: [model("x", "a=1", "b=2"), model("y", "c=3", "b=4", "a=1")] };
    expect(aligned(map)).toEqual([
      ["a", "all all"],
      ["b", "own own"],
      ["c", "- own"],
    ]);
  });

  test("tells what all, some and one model share, and versions apart", () => {
    const models = ["1", "1", "2", "2", "3"].map((digest, row) => model(`m${row}`, "all=0", `a=${digest}`));
    expect(aligned({ models })).toEqual([
      ["all", "all all all all all"],
      ["a", "some some variant variant own"],
    ]);
  });

  test("shows names that hold the same bytes in every model once", () => {
    const map = {
      models: [
        model("x", "decoder/a=1", "decoder/b=2", "past/a=1", "past/b=2"),
        model("y", "decoder/a=1", "past/a=1"),
      ],
    };
    expect(aligned(map)).toEqual([
      ["decoder/a past/a", "all all"],
      ["decoder/b past/b", "own -"],
    ]);
  });

  test("keeps names apart that hold the same bytes in one model only", () => {
    expect(aligned({ models: [model("x", "a=1", "b=1"), model("y", "a=1", "b=2")] })).toEqual([
      ["a", "all all"],
      ["b", "all own"],
    ]);
  });

  test("joins names where a model lacks one of them", () => {
    expect(aligned({ models: [model("x", "decoder/a=1", "past/a=1"), model("y", "decoder/a=2")] })).toEqual([
      ["decoder/a past/a", "own own"],
    ]);
  });

  test("joins one weight that two models name differently", () => {
    expect(aligned({ models: [model("x", "onnx/m.a=1"), model("y", "gguf/a=1")] })).toEqual([
      ["onnx/m.a gguf/a", "all all"],
    ]);
  });

  test("counts a model that holds the same bytes twice once", () => {
    expect(aligned({ models: [model("x", "a=1", "b=1"), model("y", "a=2", "b=2")] })).toEqual([
      ["a b", "own own"],
    ]);
  });
});
