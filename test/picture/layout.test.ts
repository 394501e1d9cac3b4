import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { groupOf } from "../../src/picture/group.ts";
import { type FamilyLayout, layoutFamily } from "../../src/picture/layout.ts";
import { textWidth } from "../../src/picture/text.ts";
import { family, model, weight } from "./family.ts";

function widths(layout: FamilyLayout): number[] {
  return layout.runs.map((run) => run.width);
}

function expectInOrder(layout: FamilyLayout): void {
  let free = layout.matrix.x;
  for (const run of layout.runs) {
    expect(run.x).toBeGreaterThanOrEqual(free - 1e-6);
    expect(run.width).toBeGreaterThan(0);
    free = run.x + run.width;
  }
  expect(free).toBeLessThanOrEqual(layout.matrix.x + layout.matrix.width + 1e-6);
  for (const [index, label] of layout.labels.entries()) {
    const next = layout.labels[index + 1];
    if (next !== undefined) expect(label.x + textWidth(label.text, 12)).toBeLessThan(next.x);
  }
}

describe("layoutFamily()", () => {
  test("gives columns widths that follow their bytes, and small ones enough to be seen", () => {
    const weights = [weight("a", "1", 6e6), weight("b", "2", 3e6), weight("c", "3", 4), weight("d", "4", 0)];
    const layout = layoutFamily({ models: [{ name: "x", fileBytes: 1e7, weights }] });
    const [a = 0, b = 0, c = 0, d = 0] = widths(layout);
    expect(a - d).toBeCloseTo(2 * (b - d), 3);
    expect(c).toBeGreaterThanOrEqual(5);
    expect(d).toBe(5);
    expectInOrder(layout);
  });

  test("takes a column's width from the largest version", () => {
    const small = { name: "q8", fileBytes: 1, weights: [weight("a", "1", 1000), weight("b", "2", 1000)] };
    const large = { name: "f16", fileBytes: 1, weights: [weight("a", "3", 2000), weight("b", "2", 1000)] };
    const [first] = layoutFamily({ models: [small, large] }).runs;
    expect(first?.bytes).toBe(2000);
  });

  test("draws up to a hundred columns each by itself", () => {
    expect(layoutFamily(family(3, 11, () => false)).runs).toHaveLength(99);
  });

  test("merges neighbours of one pattern where there are more", () => {
    const layout = layoutFamily(family(3, 40, (row, layer) => row === 2 && layer >= 30));
    expect(layout.columns).toBe(360);
    expect(layout.runs).toHaveLength(40);
    expect(layout.runs.every((run) => run.columns.length === 9)).toBe(true);
    expect(layout.runs.at(-1)?.cells).toEqual([
      [{ sharing: "some", fraction: 1 }],
      [{ sharing: "some", fraction: 1 }],
      [{ sharing: "own", fraction: 1 }],
    ]);
  });

  test("divides a cell by bytes where neighbours differ too often", () => {
    const layout = layoutFamily(family(2, 40, (row, _, part) => row === 1 && part % 3 === 2));
    expect(layout.runs).toHaveLength(40);
    expect(layout.runs[0]?.cells[1]).toEqual([
      { sharing: "all", fraction: expect.closeTo(0.6, 6) },
      { sharing: "own", fraction: expect.closeTo(0.4, 6) },
    ]);
  });

  test("merges layers into blocks of a round number where there are very many", () => {
    const layout = layoutFamily(family(10, 333, (row, layer, part) => (row * 7 + layer + part) % 5 === 0));
    expect(layout.runs).toHaveLength(67);
    expect(layout.labels.map((label) => label.text)).toContain("100");
    expectInOrder(layout);
  });

  test("merges names without any order by equal shares", () => {
    const weights = Array.from({ length: 4000 }, (_, index) => weight(`w${index}x`, `${index}`));
    const changed = weights.map((one, index) => (index % 2 ? one : weight(one.name, `${index}-own`)));
    const models = [
      { name: "x", fileBytes: 1, weights },
      { name: "y", fileBytes: 1, weights: changed },
    ];
    const layout = layoutFamily({ models });
    expect(layout.runs).toHaveLength(80);
    expect(layout.runs.reduce((sum, run) => sum + run.columns.length, 0)).toBe(4000);
  });

  test("keeps 20 rows apart and models without weights in place", () => {
    const layout = layoutFamily(family(20, 3, () => false));
    for (const [index, row] of layout.rows.entries()) {
      const next = layout.rows[index + 1];
      if (next !== undefined) expect(row.y + row.height).toBeLessThan(next.y);
    }
    expect(layoutFamily({ models: [model("x"), model("y", "a=1")] }).rows).toHaveLength(2);
  });

  test("places any family in order and within the matrix", () => {
    const weights = fc.array(
      fc.record({
        name: fc.string({ maxLength: 8 }),
        digest: fc.constantFrom("a", "b", "c", "d"),
        bytes: fc.nat(),
      }),
      { maxLength: 30 },
    );
    fc.assert(
      fc.property(fc.array(weights, { maxLength: 6 }), (models) => {
        const layout = layoutFamily({
          models: models.map((all, index) => ({
            name: `${index}`,
            fileBytes: 0,
            weights: [...new Map(all.map((one) => [one.name, one])).values()].map(({ name, digest, bytes }) =>
              weight(name, digest, bytes),
            ),
          })),
        });
        expectInOrder(layout);
        for (const parts of layout.runs.flatMap((run) => run.cells)) {
          expect(parts.reduce((sum, part) => sum + part.fraction, 0)).toBeLessThan(1.000001);
        }
      }),
    );
  });
});

describe("layoutFamily() labels", () => {
  test("names every layer where there is room", () => {
    const labels = layoutFamily(family(1, 5, () => false)).labels;
    expect(labels.map((label) => label.text)).toEqual([
      "layers.0",
      "layers.1",
      "layers.2",
      "layers.3",
      "layers.4",
    ]);
  });

  test("counts on like an axis where there is not", () => {
    const labels = layoutFamily(family(1, 80, () => true)).labels.map((label) => label.text);
    expect(labels[0]).toBe("layers.0");
    expect(labels.slice(1)).toEqual(labels.slice(1).map((_, index) => String(Number(labels[1]) + 5 * index)));
  });

  test("tells methods apart that do not share", () => {
    const map = { models: [model("x", "encoder/blk.0.a=1", "decoder/blk.0.a=2")] };
    expect(layoutFamily(map).labels.map((label) => label.text)).toEqual(["encoder/blk.0", "decoder/blk.0"]);
  });
});

describe("groupOf()", () => {
  test.each([
    ["decoder/blk.0.attn_q.weight", "blk", "0"],
    ["decoder/m.blk.12.attn_norm.weight", "blk", "12"],
    ["model/model.layers.3.mlp.up_proj.weight", "layers", "3"],
    ["decoder/onnx::MatMul_1285", "onnx::MatMul", undefined],
    ["model/token_embd.weight", "token_embd", undefined],
    ["model/weight", "weight", undefined],
    ["main//encoder/layer.0/q/MatMul", "layer", "0"],
    ["0.weight", "0", undefined],
    ["", "", undefined],
  ])("reads %j", (name, stem, index) => {
    expect(groupOf(name)).toMatchObject({ stem, index });
  });
});
