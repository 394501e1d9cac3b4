import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { StopFilter } from "../../../src/engines/llama/stop-filter.ts";
import { idealThreads } from "../../../src/engines/llama/threads.ts";
import { untokenizableFinder } from "../../../src/engines/llama/vocabulary.ts";

describe("idealThreads()", () => {
  const MIB = 2 ** 20;

  test.each([
    [4 * MIB, 8, undefined, 1],
    [33 * MIB, 8, undefined, 2],
    [4096 * MIB, 8, undefined, 8],
    [4096 * MIB, 2, 4, 2],
    [4096 * MIB, 8, 3, 3],
    [0, 1, undefined, 1],
  ])("gives a model of %i bytes on %i cores that asks for %s threads %i", (bytes, cores, asked, threads) => {
    expect(idealThreads(bytes, cores, asked)).toBe(threads);
  });

  test("never gives more than the cores, nor none", () => {
    fc.assert(
      fc.property(
        fc.nat(),
        fc.integer({ min: 1, max: 256 }),
        fc.option(fc.integer({ min: 1, max: 512 }), { nil: undefined }),
        (bytes, cores, asked) => {
          const threads = idealThreads(bytes, cores, asked);
          return Number.isInteger(threads) && threads >= 1 && threads <= cores;
        },
      ),
    );
  });
});

describe("StopFilter", () => {
  const filtered = (stops: readonly string[], pieces: readonly string[]): [string, boolean] => {
    const filter = new StopFilter(stops);
    const passed = pieces.map((piece) => filter.push(piece));
    return [passed.join("") + filter.end(), filter.hit];
  };

  test("holds back what may become a stop text, and gives it when it does not", () => {
    const filter = new StopFilter(["\n\nUser:"]);
    expect(filter.push("Yes.\n")).toBe("Yes.");
    expect(filter.push("\nUs")).toBe("");
    expect(filter.push("eful")).toBe("\n\nUseful");
    expect(filter.push("\n")).toBe("");
    expect(filter.end()).toBe("\n");
    expect(filter.hit).toBe(false);
  });

  test("passes nothing after a stop text", () => {
    expect(filtered(["stop"], ["a st", "op b", "c"])).toEqual(["a ", true]);
  });

  test("cuts at the same place however the text comes in pieces", () => {
    const texts = fc.string({ unit: fc.constantFrom("a", "b", "c"), maxLength: 30 });
    const stops = fc.array(fc.string({ unit: fc.constantFrom("a", "b", "c"), minLength: 1, maxLength: 4 }));
    fc.assert(
      fc.property(fc.array(texts), stops, (pieces, list) => {
        const text = pieces.join("");
        const ends = list.map((stop) => text.indexOf(stop)).filter((at) => at >= 0);
        const [passed, hit] = filtered(list, pieces);
        expect(hit).toBe(ends.length > 0);
        // Of two stop texts the one that is complete first ends it: the other may begin before it.
        if (!hit) expect(passed).toBe(text);
        else expect(text.startsWith(passed)).toBe(true);
        expect(list.some((stop) => passed.includes(stop))).toBe(false);
      }),
    );
  });
});

describe("spellerOf()", () => {
  const BYTES = Array.from(
    { length: 256 },
    (_, byte) => `<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`,
  );

  test("finds the first character that a vocabulary without all bytes has no token for", () => {
    const spell = untokenizableFinder({
      ggml: { model: "llama", tokens: ["<0x0A>", "\u2581", "a", "\u00e9"] },
    });
    expect(spell?.("a a\n\u00e9")).toBeUndefined();
    expect(spell?.("a \u{1F600} z")).toBe("\u{1F600}");
    expect(spell?.("\t")).toBe("\t");
  });

  test("is not needed where all bytes have tokens, or for another kind of tokenizer", () => {
    expect(untokenizableFinder({ ggml: { model: "llama", tokens: BYTES } })).toBeUndefined();
    expect(untokenizableFinder({ ggml: { model: "gpt2", tokens: ["a"] } })).toBeUndefined();
    expect(untokenizableFinder(undefined)).toBeUndefined();
  });
});
