import { readFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { convertWeights } from "tare";
import { createRegistry, type Format, FORMATS, type ModelFile } from "tare/formats";
import { memorySource, memoryWeights } from "tare/weights";
import { temporaryFolder } from "../support/temporary.ts";

/** A format of one weight, its four bytes of signature, and the weight's bytes. */
const toy: Format = {
  id: "toy",
  label: "Toy",
  extensions: [".toy"],
  hasSignature: (start) => start.text(0, 4) === "TOY!",
  async read([file]) {
    const { path, source } = file as ModelFile;
    const length = source.size - 4;
    const weights = [
      { name: "w", dtype: "uint8", shape: [length], at: { file: 0, offset: 4, length } },
    ] as const;
    return {
      format: "toy",
      methods: [{ name: path, file: 0, weights, constants: [] }],
      files: [{ path, source }],
    };
  },
  writers: {
    ".toy": async () => (weights) => {
      const bytes = new TextEncoder().encode("TOY!");
      const size = weights.reduce((sum, { length }) => sum + length, bytes.byteLength);
      return { pieces: [{ offset: 0, bytes }, ...weights.map((weight) => ({ offset: 4, weight }))], size };
    },
  },
};

describe("createRegistry()", () => {
  const registry = createRegistry([...FORMATS.formats, toy]);

  test("takes a format from outside, and writes, recognizes and reads its files", async () => {
    const path = join(await temporaryFolder(), "new.toy");
    const weights = memoryWeights({ w: { dtype: "uint8", shape: [3], bytes: Uint8Array.of(7, 8, 9) } });
    await convertWeights(weights, path, { formats: registry });
    const source = memorySource(await readFile(path));
    const format = await registry.recognize({ path: "digest", source });
    expect(format).toBe(toy);
    const draft = await format?.read([{ path, source }], { open: async () => undefined });
    const [weight] = draft?.methods[0]?.weights ?? [];
    expect(weight).toMatchObject({ name: "w", dtype: "uint8", shape: [3] });
    expect([...(await source.read(weight?.at.offset ?? 0, 3))]).toEqual([7, 8, 9]);
    await expect(convertWeights(weights, join(dirname(path), "again.toy"))).rejects.toMatchObject({
      code: "usage",
      hint: expect.stringContaining(".safetensors"),
    });
  });

  test("knows names, ids and what is written from the list alone", () => {
    expect(registry.modelFiles).toEqual([...FORMATS.modelFiles, ".toy"]);
    expect(registry.writtenFiles).toEqual([...FORMATS.writtenFiles, ".toy"]);
    expect(registry.byId("toy")).toBe(toy);
    expect(FORMATS.byId("toy")).toBeUndefined();
    expect(FORMATS.byId("constructor")).toBeUndefined();
    expect([registry.isModelFile("a/B.TOY"), FORMATS.isModelFile("a/b.toy")]).toEqual([true, false]);
    expect(FORMATS.sideExtensions).toEqual([".npz", ".npy", ".pt", ".pth"]);
    expect(FORMATS.isModelFile("dist/Tensor-Cache.json")).toBe(true);
    expect(FORMATS.isModelFile("dist/my-tensor-cache.json")).toBe(false);
  });

  test("refuses two formats of one id or ending", () => {
    expect(() => createRegistry([toy, { ...toy, extensions: [] }])).toThrow('two formats have "toy"');
    expect(() => createRegistry([toy, { ...toy, id: "other" }])).toThrow('two formats have ".toy"');
  });
});

describe("FORMATS", () => {
  const DIST = fileURLToPath(new URL("../../dist/", import.meta.url));

  test.each(["formats/registry.js", "cli/main.js"])("lets %s load no reader and no writer", (entry) => {
    const loaded = loadedBy(resolve(DIST, entry)).map((path) => path.slice(DIST.length));
    expect(loaded.filter((path) => /^formats\/.*\/(read|parse|write|lay-out|edit)/.test(path))).toEqual([]);
    expect(loaded.length).toBeGreaterThan(1);
  });

  test("has a row for each format in docs/formats.md", () => {
    const docs = readFileSync(new URL("../../docs/formats.md", import.meta.url), "utf8");
    const rows = docs.split("\n").filter((line) => /^\| [A-Za-z]/.test(line));
    for (const { label, extensions, names = [], writers = {} } of FORMATS.formats) {
      const row = rows.find((line) => line.startsWith(`| ${label} `));
      for (const ending of [...extensions, ...names]) expect(row).toContain(`\`${ending}\``);
      for (const ending of Object.keys(writers)) expect(docs).toContain(`\`${ending}\``);
    }
    expect(rows.length - 1).toBe(FORMATS.formats.length);
  });
});

/** All modules that a module loads before it runs: itself, and what static imports lead to. */
function loadedBy(entry: string, seen: Set<string> = new Set()): string[] {
  if (seen.has(entry)) return [];
  seen.add(entry);
  const text = readFileSync(entry, "utf8");
  for (const [, path = ""] of text.matchAll(/^(?:import|export)[^;]*?from "(\.[^"]+)"/gms)) {
    loadedBy(resolve(dirname(entry), path), seen);
  }
  return [...seen];
}
