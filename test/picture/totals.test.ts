import { describe, expect, test } from "vitest";
import { familyTotals } from "../../src/picture/totals.ts";
import { model } from "./family.ts";

describe("familyTotals()", () => {
  const models = [
    model("x", "decoder/a=1", "past/a=1", "b=2", "c=3"),
    model("y", "decoder/a=1", "b=2", "c=4"),
    model("z", "decoder/a=1", "b=5"),
  ];

  test("counts every weight once, whatever number of names and models it has", () => {
    expect(familyTotals({ models })).toMatchObject({
      fileBytes: 9900,
      storedBytes: 5000,
      programBytes: undefined,
      all: { count: 1, bytes: 1000 },
      some: { count: 1, bytes: 1000 },
      own: { count: 3, bytes: 3000 },
    });
  });

  test("adds each model up by itself", () => {
    const [x, , z] = familyTotals({ models }).models;
    expect(x).toMatchObject({ weights: { count: 3, bytes: 3000 }, own: { bytes: 1000 } });
    expect(z).toMatchObject({ fileBytes: 2200, some: { bytes: 0 }, own: { bytes: 1000 } });
  });

  test("takes the store's bytes where they are told", () => {
    expect(familyTotals({ models, storedBytes: 5600 })).toMatchObject({
      storedBytes: 5600,
      programBytes: 600,
    });
  });

  test("calls nothing shared in a family of one", () => {
    expect(familyTotals({ models: models.slice(0, 1) })).toMatchObject({
      all: { count: 0 },
      own: { count: 3 },
    });
  });
});
