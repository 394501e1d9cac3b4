import { describe, expect, test } from "vitest";
import { drawFamilyHtml } from "../../src/picture/html.ts";
import { drawFamilySvg } from "../../src/picture/svg.ts";
import { family, model, weight } from "./family.ts";

const charlm = {
  models: [
    model("base", "decoder/a=1", "past/a=1", "decoder/b=2", "past/b=2", "decoder/c=3"),
    model("kjv", "decoder/a=1", "past/a=1", "decoder/b=2", "past/b=2", "decoder/c=4"),
    model("licence", "decoder/a=1", "past/a=1", "decoder/b=5", "past/b=5"),
  ],
};

/** Throws unless tags nest and every entity and attribute is well formed: an outside parser's part, in small. */
function expectWellFormed(xml: string): void {
  expect(xml).not.toMatch(/(?![\n\t])[\p{Cc}\p{Cs}\uFFFE\uFFFF]/u);
  expect(xml.replace(/&(amp|lt|gt|quot|#39);/g, "")).not.toContain("&");
  const open: string[] = [];
  const rest = xml.replace(
    /<(\/?)([a-zA-Z]+)((?:\s+[a-zA-Z:-]+="[^"<]*")*)\s*(\/?)>/g,
    (_, end, name, __, empty) => {
      if (end) expect(open.pop()).toBe(name);
      else if (!empty) open.push(name);
      return "";
    },
  );
  expect(open).toEqual([]);
  expect(rest).not.toMatch(/</);
}

describe("drawFamilySvg()", () => {
  const svg = drawFamilySvg(charlm);

  test("states the totals, the models and what they share", () => {
    expect(svg.replace(/<[^>]*>/g, "")).toContain("as files 15.4 kB → stored once 5 kB");
    for (const name of ["base", "kjv", "licence"]) expect(svg).toContain(`>${name}</text>`);
    expect(svg).toContain(
      "decoder/b\nalso past/b\nfloat32 250 · 1 kB\n\nshared by base, kjv\nown to licence",
    );
    expect(svg).toContain("own to each of base, kjv\nnot in licence");
    expect(svg).toContain("2 weights have several names");
  });

  test("is one well-formed image with a title and a description, and nothing from elsewhere", () => {
    expectWellFormed(svg);
    expect(svg).toMatch(/^<svg [^>]*role="img" aria-labelledby="tm-title" aria-describedby="tm-desc">/);
    expect(svg).toContain('<title id="tm-title">3 models and the weights they share</title>');
    expect(svg).toContain("base: 2 kB shared, 1 kB own");
    expect(svg.replace("http://www.w3.org/2000/svg", "")).not.toMatch(/https?:|href|@import|url\((?!#)/);
  });

  test("tells kinds apart without colour", () => {
    for (const kind of ["some", "variant", "own"]) expect(svg).toContain(`<pattern id="tm-${kind}"`);
    expect(svg).toContain("prefers-color-scheme:dark");
  });

  test("escapes hostile names", () => {
    const evil = `</title></svg><script>alert("1")</script>&'\u0000\u202E\uD800]]>`;
    const models = ["x", "y"].map((end) => ({
      name: `${evil}${end}`,
      fileBytes: 1000,
      weights: [{ ...weight(`${evil}/${evil}.0.${evil}`, evil), dtype: evil }, weight(`${evil}2`, end)],
    }));
    const drawn = drawFamilySvg({ models });
    expectWellFormed(drawn);
    expect(drawn).not.toContain("<script");
    expect(drawn).not.toMatch(/[\u202E\uD800]/u);
    const page = drawFamilyHtml({ models });
    expect(page.match(/<script/g)).toHaveLength(1);
    expect(page.match(/<\/svg>/g)).toHaveLength(1);
  });

  test("shortens long names and keeps them whole in a title", () => {
    const name = `${"long-".repeat(30)}name`;
    const drawn = drawFamilySvg({ models: [model(name, "a=1")] });
    expect(drawn).toContain(`<title>${name}</title>long-`);
    expect(drawn).toContain("…");
  });

  test.each([
    ["few patterns", (row: number, layer: number) => layer > 500 - row * 10],
    [
      "many patterns",
      (row: number, layer: number, part: number) => (row * 31 + layer * 17 + part * 7) % 3 === 0,
    ],
  ])("stays under 300 KB for 20 models of 5000 weights, %s", (_, changed) => {
    const drawn = drawFamilySvg(family(20, 556, changed));
    expect(Buffer.byteLength(drawn)).toBeLessThan(300_000);
    expectWellFormed(drawn);
  });

  test("stays under 300 KB with the longest names", () => {
    const weights = Array.from({ length: 100 }, (_, index) =>
      weight(`${"<".repeat(5000)}${index}`, `${index}`),
    );
    const models = Array.from({ length: 20 }, (_, row) => ({
      name: '"'.repeat(5000) + row,
      fileBytes: 1,
      weights,
    }));
    expect(Buffer.byteLength(drawFamilySvg({ models }))).toBeLessThan(300_000);
  });

  test("draws families of no models, no weights and no bytes", () => {
    const nothing = { ...weight("a", "1", 0), shape: [0] };
    for (const models of [
      [],
      [model("x")],
      [{ name: "", fileBytes: 0, weights: [nothing] }],
      [model("x"), { name: "y", fileBytes: 0, weights: [nothing] }],
    ]) {
      const drawn = drawFamilySvg({ models });
      expectWellFormed(drawn);
      expect(drawn).not.toMatch(/NaN|Infinity|undefined/);
    }
    expect(drawFamilySvg({ models: [] })).toContain("No models yet");
    expect(drawFamilySvg({ models: [model("x", "a=1")] })).toContain("1 model and its weights");
  });
});

describe("drawFamilyHtml()", () => {
  const page = drawFamilyHtml(charlm);

  test("is one page that loads nothing", () => {
    expect(page).toMatch(/^<!doctype html>/);
    expect(page).toContain("default-src 'none'");
    expect(page.replace("http://www.w3.org/2000/svg", "")).not.toMatch(/https?:|<link|<img|\ssrc=/);
  });

  test("has the totals and a table with a row per model", () => {
    expect(page).toContain("as files <strong>15.4 kB</strong> → stored once <strong>5 kB</strong>");
    const rows = page.match(/<tr>.*?<\/tr>/g)?.map((row) =>
      row
        .replace(/<[^>]*>/g, " ")
        .replace(/ +/g, " ")
        .trim(),
    );
    expect(rows).toEqual([
      "model files weights their bytes shared own",
      "base 5.5 kB 3 3 kB 2 kB 1 kB",
      "kjv 5.5 kB 3 3 kB 2 kB 1 kB",
      "licence 4.4 kB 2 2 kB 1 kB 1 kB",
      "together, each weight once 15.4 kB 5 5 kB 2 kB 3 kB",
    ]);
  });

  test("has no table without models", () => {
    expect(drawFamilyHtml({ models: [] })).not.toContain("<table");
  });
});
