import { readdirSync, readFileSync } from "node:fs";
import { cp, mkdir, readFile, writeFile } from "node:fs/promises";
import { basename, extname, join } from "node:path";
import { fileURLToPath } from "node:url";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { memorySource } from "../../src/io/byte-source.ts";
import { MODEL_FILES, recognizeFormat } from "../../src/formats/registry.ts";
import { openStore } from "../../src/tare-store.ts";
import { openModel } from "../../src/node/open-model.ts";
import { temporaryFolder } from "../support/temporary.ts";
import { describeModel } from "../../src/operations/describe.ts";

const FOLDER = fileURLToPath(new URL("../../fixtures/", import.meta.url));
const FORMATS: Readonly<Record<string, string>> = {
  ".gguf": "gguf",
  ".irpa": "irpa",
  ".mlir": "mlir",
  ".mlirbc": "mlir",
  ".npy": "numpy",
  ".npz": "numpy",
  ".onnx": "onnx",
  ".params": "tvm-params",
  ".pt": "pytorch",
  ".ptd": "executorch",
  ".pte": "executorch",
  ".pth": "pytorch",
  ".safetensors": "safetensors",
  "ndarray-cache.json": "mlc",
  "tensor-cache.json": "mlc",
};
/** Files of the fixtures that other tools wrote, by what they are. */
const FIXTURES = readdirSync(FOLDER, { recursive: true, encoding: "utf8" }).flatMap((path) => {
  const format = FORMATS[basename(path)] ?? FORMATS[extname(path)];
  return format ? [[path, format] as const] : [];
});

function sourceOf(path: string): ReturnType<typeof memorySource> {
  return memorySource(new Uint8Array(readFileSync(join(FOLDER, path))));
}

describe("recognizeFormat()", () => {
  test("knows a fixture of every format", () => {
    const known = new Set(FIXTURES.map(([, format]) => format));
    expect([...known].sort()).toEqual([...new Set(Object.values(FORMATS))].sort());
    expect(Object.keys(FORMATS).sort()).toEqual([...MODEL_FILES].sort());
  });

  test.each(FIXTURES)("knows %s by what it starts with", async (path, format) => {
    for (const name of ["model", "model.bin", format === "gguf" ? "x.irpa" : "x.gguf"]) {
      const found = await recognizeFormat({ path: name, source: sourceOf(path) });
      // ONNX models and texts have no signature: a name that stands for another format is believed.
      const believed = name.endsWith(".gguf") && (format === "onnx" || path.endsWith(".mlir"));
      expect(found?.id).toBe(believed ? "gguf" : format);
    }
  });

  test.each([
    ["nothing", ""],
    ["text", "Copyright\n"],
    ["JSON of another kind", '{"architectures": ["LlamaForCausalLM"]}'],
    ["a zip archive of other files", "PK\x03\x04".padEnd(26, "\0") + "\x05\0\0\0a.txt"],
    ["zeros", "\0".repeat(64)],
  ])("knows nothing in %s, and believes the name", async (_, text) => {
    const source = memorySource(Uint8Array.from(text, (char) => char.charCodeAt(0)));
    expect(await recognizeFormat({ path: "model.bin", source })).toBeUndefined();
    expect((await recognizeFormat({ path: "model.npz", source }))?.id).toBe("numpy");
  });

  test("answers for any bytes", async () => {
    const some = FIXTURES.map(([path]) => new Uint8Array(readFileSync(join(FOLDER, path)).subarray(0, 64)));
    const cut = fc.tuple(fc.constantFrom(...some), fc.nat(64)).map(([bytes, end]) => bytes.subarray(0, end));
    await fc.assert(
      fc.asyncProperty(fc.oneof(fc.uint8Array({ maxLength: 2000 }), cut), async (bytes) => {
        await recognizeFormat({ path: "x", source: memorySource(bytes) });
      }),
    );
  });
});

describe("models whose names say nothing", () => {
  test("are added, and come back under their names", async () => {
    const folder = await temporaryFolder();
    const store = await openStore({ path: join(folder, "store") });
    const files = FIXTURES.filter(([path]) =>
      /pytorch\/checkpoint|types\.gguf|typed\.irpa|base-22|base\.mlir|first\.pte|many\.ptd|stored\.npz|f4\.npy/.test(
        path,
      ),
    );
    for (const [path, format] of files) {
      const name = basename(path).replace(".", "-");
      const bytes = await readFile(join(FOLDER, path));
      await writeFile(join(folder, name), bytes);
      await store.add([join(folder, name)]);
      expect((await describeModel(store, name)).format).toBe(format);
      await store.export(name, join(folder, "out", name));
      expect(bytes.equals(await readFile(join(folder, "out", name)))).toBe(true);
    }
    expect(files.length).toBeGreaterThan(7);
  });

  test("are found in a folder that has no other, beside pickled settings", async () => {
    const folder = join(await temporaryFolder(), "model");
    await mkdir(folder);
    await cp(join(FOLDER, "pytorch/checkpoint.pth"), join(folder, "pytorch_model.bin"));
    await cp(join(FOLDER, "pytorch/refused-code.pt"), join(folder, "training_args.bin"));
    await writeFile(join(folder, "config.json"), "{}");
    await writeFile(join(folder, "merges.dat"), "a b\n");
    await using model = await openModel([folder]);
    expect(model.draft.format).toBe("pytorch");
    expect(model.draft.files.map(({ path }) => path)).toEqual(["pytorch_model.bin", "config.json"]);
  });

  test("are refused with what was looked at", async () => {
    const folder = await temporaryFolder();
    await writeFile(join(folder, "notes"), "no model\n");
    await expect(openModel([join(folder, "notes")])).rejects.toMatchObject({
      code: "unknown-format",
      message: `Cannot find the format of "${join(folder, "notes")}": neither its first bytes nor its name are known`,
    });
    await expect(openModel([folder])).rejects.toMatchObject({ code: "unknown-format" });
  });
});
