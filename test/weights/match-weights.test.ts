import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { parseNameMap } from "../../src/weights/name-map.ts";
import {
  type ExpectedWeight,
  matchWeights,
  type WeightTable,
  weightTable,
} from "../../src/weights/match-weights.ts";
import { proposeMapping } from "../../src/operations/refit/propose.ts";
import type { Weight } from "../../src/model/config.ts";

function weight(name: string, shape: readonly number[] = [2, 3], mark = name): Weight {
  const hex = Buffer.from(mark).toString("hex").padEnd(64, "0").slice(0, 64);
  return { name, dtype: "float32", shape, digest: `sha256:${hex}` };
}

function checkpoint(...weights: readonly ExpectedWeight[]): WeightTable {
  return weightTable("new", weights);
}

const MODEL = [weight("a"), weight("b"), weight("c", [4])];

describe("matchWeights()", () => {
  const refit = { program: "model", rebind: true } as const;

  test("binds every weight by name, through a mapping where names differ", () => {
    const given = checkpoint(weight("a"), weight("x.b"), weight("c", [4]));
    const map = parseNameMap({ b: "x.b" }, "map.json");
    const { bound, kept } = matchWeights(MODEL, given, { ...refit, map });
    expect([...bound]).toEqual([
      ["a", "a"],
      ["b", "x.b"],
      ["c", "c"],
    ]);
    expect(kept).toEqual([]);
  });

  test("keeps what a partial checkpoint lacks, on purpose only", () => {
    expect(matchWeights(MODEL, checkpoint(weight("b")), { ...refit, partial: true }).kept).toEqual([
      "a",
      "c",
    ]);
    for (const [given, options] of [
      [checkpoint(weight("b")), refit],
      [checkpoint(), { ...refit, partial: true }],
    ] as const) {
      expect(() => matchWeights(MODEL, given, options)).toThrow(
        expect.objectContaining({ name: "WeightMismatchError", code: "missing-weight", tensor: "a" }),
      );
    }
  });

  test("lets weights that a program has no use for be, on purpose only", () => {
    const given = checkpoint(...MODEL, weight("d"));
    expect(matchWeights(MODEL, given, { spare: true }).bound.size).toBe(3);
    expect(() => matchWeights(MODEL, given)).toThrow(expect.objectContaining({ unused: ["d"] }));
  });

  test.each([
    [
      "unused-weight",
      [weight("a"), weight("b"), weight("c", [4]), weight("d"), weight("e")],
      {},
      'unused: "d", "e"',
    ],
    [
      "mismatch",
      [weight("a", [3, 2]), weight("x"), { ...weight("c", [4]), dtype: "float16" }],
      { b: "x" },
      'not the same: "a" (float32 [2, 3] in "model", float32 [3, 2] in "new"), ' +
        '"c" (float32 [4] in "model", float16 [4] in "new")',
    ],
    ["duplicate", [weight("a"), weight("c", [4])], { b: "a" }, 'used twice: "a" for "a" and "b"'],
    [
      "missing-weight",
      [weight("x", [7]), weight("d")],
      { a: "x" },
      'missing: "b", "c"; not the same: "a" (float32 [2, 3] in "model", float32 [7] as "x" in "new"); unused: "d"',
    ],
  ] as const)("says %s, with every case", (code, given, names, cases) => {
    const map = parseNameMap(names, "map.json");
    expect(() =>
      matchWeights(MODEL, checkpoint(...given), { ...refit, map, hints: { [code]: "Do this" } }),
    ).toThrow(
      expect.objectContaining({ code, message: `Cannot use "new" for "model": ${cases}`, hint: "Do this" }),
    );
  });

  test("refuses a mapping of names that no side has", () => {
    const map = parseNameMap({ z: "a", b: "y" }, "map.json");
    expect(() => matchWeights(MODEL, checkpoint(...MODEL), { ...refit, map })).toThrow(
      expect.objectContaining({
        code: "not-found",
        message: 'Cannot use the mapping: "model" has no "z"; "new" has no "y", for "b"',
      }),
    );
  });

  test("compares digests that both sides know, unless the weights get other values", () => {
    const other = [weight("a", [2, 3], "other"), ...MODEL.slice(1)];
    expect(() => matchWeights(MODEL, checkpoint(...other))).toThrow(
      expect.objectContaining({ code: "mismatch", tensor: "a", digest: other[0]?.digest }),
    );
    expect(matchWeights(MODEL, checkpoint(...other), refit).bound.size).toBe(3);
    const unknown = other.map(({ name, dtype, shape }) => ({ name, dtype, shape }));
    expect(matchWeights(MODEL, checkpoint(...unknown)).bound.size).toBe(3);
  });

  test("lets tied weights, which have the same bytes, share one", () => {
    const tied = [weight("embed", [2, 3], "t"), weight("head", [2, 3], "t")];
    const map = parseNameMap({ head: "embed" }, "map.json");
    expect(matchWeights(tied, checkpoint(weight("embed")), { ...refit, map }).bound.size).toBe(2);
  });
});

describe("parseNameMap()", () => {
  test.each([[[]], [null], ["x"], [{ a: 1 }]])("refuses %j", (value) => {
    expect(() => parseNameMap(value, "map.json")).toThrow(expect.objectContaining({ code: "malformed" }));
  });

  test("refuses a cycle of names, and no other mapping", () => {
    expect(() => parseNameMap({ x: "a", a: "b", b: "c", c: "a" }, "map.json")).toThrow(/a → b → c → a/);
    expect(parseNameMap({ a: "a", b: "c", x: "b" }, "map.json").size).toBe(3);
    const name = fc.constantFrom("a", "b", "c", "d", "e");
    fc.assert(
      fc.property(fc.dictionary(name, name), (value) => {
        const leads = (from: string): boolean => {
          let at = value[from];
          for (let steps = 0; steps < 10 && at !== undefined && value[at] !== at; steps++) {
            if (at === from) return at !== value[from] || value[at] !== undefined;
            at = value[at];
          }
          return false;
        };
        const circular = Object.keys(value).some((key) => value[key] !== key && leads(key));
        if (circular) expect(() => parseNameMap(value, "m")).toThrow(/cycle/);
        else expect(parseNameMap(value, "m").size).toBe(Object.keys(value).length);
      }),
    );
  });
});

describe("proposeMapping()", () => {
  const none = { model: () => undefined, checkpoint: () => undefined };

  test("pairs names of two conventions by words and layers", () => {
    const model = ["blk.0.attn_q.weight", "blk.1.attn_q.weight", "blk.0.attn_k.weight"].map((name) =>
      weight(name),
    );
    const given = ["layers.1.attn.q.weight", "layers.0.attn.k.weight", "layers.0.attn.q.weight"].map((name) =>
      weight(name),
    );
    const pairs = proposeMapping(model, given, none).map(({ name, from }) => [name, from]);
    expect(pairs).toEqual([
      ["blk.0.attn_k.weight", "layers.0.attn.k.weight"],
      ["blk.0.attn_q.weight", "layers.0.attn.q.weight"],
      ["blk.1.attn_q.weight", "layers.1.attn.q.weight"],
    ]);
  });

  test("trusts values more than names, and says where it cannot tell", () => {
    const values: Record<string, Float32Array> = {
      a: Float32Array.of(1, 2, 3),
      b: Float32Array.of(3, -1, 0),
      x: Float32Array.of(1.01, 2, 2.99),
      a2: Float32Array.of(3, -1.01, 0),
    };
    const samples = { model: (name: string) => values[name], checkpoint: (name: string) => values[name] };
    const proposals = proposeMapping([weight("a"), weight("b")], [weight("a2"), weight("x")], samples);
    expect(proposals).toMatchObject([
      { name: "a", from: "x", ambiguous: false },
      { name: "b", from: "a2", ambiguous: false },
    ]);
    const blind = proposeMapping([weight("p"), weight("q")], [weight("r"), weight("s")], none);
    expect(blind.every((each) => each.ambiguous || each.likeness === 0)).toBe(true);
    expect(proposeMapping([weight("a", [9])], [weight("a")], none)).toEqual([]);
  });
});
