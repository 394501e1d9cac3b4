import { createHash } from "node:crypto";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { zipSync } from "fflate";
import { describe, expect, test } from "vitest";
import { parseNpz } from "../../../src/formats/npy/npz.ts";
import { parseSafetensors } from "../../../src/formats/safetensors/parse.ts";
import { convertWeights } from "../../../src/operations/convert/convert.ts";
import { openWeights } from "../../../src/weights/open-weights.ts";
import { home } from "../../support/home.ts";
import { temporaryFolder } from "../../support/temporary.ts";

const LOOSE = fileURLToPath(new URL("../../../fixtures/loose", import.meta.url));
const FIXTURES = fileURLToPath(new URL("../../../fixtures", import.meta.url));

/** The sha256 of each tensor, as NumPy has it row-major and little-endian: fixtures/loose/expected.json. */
const EXPECTED = JSON.parse(await readFile(join(LOOSE, "expected.json"), "utf8")) as Record<
  string,
  Record<string, { readonly dtype: string; readonly shape: readonly number[]; readonly sha256: string }>
>;

async function converted(from: string, options: Parameters<typeof convertWeights>[2] = {}): Promise<unknown> {
  const path = join(await temporaryFolder(), "out.safetensors");
  await using weights = await openWeights(from);
  await convertWeights(weights, path, options);
  return described(path);
}

async function described(path: string): Promise<unknown> {
  const tensors = Object.entries(parseSafetensors(new Uint8Array(await readFile(path)), path));
  return Object.fromEntries(
    tensors.map(([name, { dtype, shape, bytes }]) => {
      return [name, { dtype, shape, sha256: createHash("sha256").update(bytes).digest("hex") }];
    }),
  );
}

describe("convertWeights() of tensors in another form", () => {
  test.each(Object.keys(EXPECTED))("makes plain ones of %s, from the file and from a store", async (name) => {
    expect(await converted(join(LOOSE, name))).toEqual(EXPECTED[name]);
    const { store, folder } = await home();
    await store.add([join(LOOSE, name)], { as: "model" });
    const table = await store.weights("model");
    const layouts = [...table.keys(), ...(table.unread ?? []).map(({ name: key }) => key)];
    expect(layouts.sort()).toEqual(Object.keys(EXPECTED[name] ?? {}).sort());
    await using weights = await openWeights("model", { store });
    const path = join(folder, "out.safetensors");
    await convertWeights(weights, path);
    expect(await described(path)).toEqual(EXPECTED[name]);
  });

  test("refuses by name what cannot be expressed, or leaves it out and lists it", async () => {
    const from = join(FIXTURES, "pytorch/views.pt");
    await expect(converted(from)).rejects.toMatchObject({
      code: "unsupported",
      tensor: "quantized",
      message: expect.stringContaining("made by torch._utils._rebuild_qtensor, and 1 more cannot be read"),
      hint: expect.stringContaining("--skip 'quantized' leaves it out"),
    });
    const { store, folder } = await home();
    await store.add([from], { as: "views" });
    for (const ref of [from, "views"]) {
      await using weights = await openWeights(ref, { store });
      const path = join(folder, `${ref === from ? "a" : "b"}.safetensors`);
      const { skipped, weights: count } = await convertWeights(weights, path, {
        skip: ["quant*", "sparse", "qkv.*"],
      });
      expect(skipped.map(({ name }) => name).sort()).toEqual([
        "qkv.0",
        "qkv.1",
        "qkv.2",
        "quantized",
        "sparse",
      ]);
      expect(count).toBe(Object.keys((await described(path)) as object).length);
    }
  });

  test("lets the other arrays of an archive be read", async () => {
    const folder = await temporaryFolder();
    const from = join(folder, "x.npz");
    const npy = async (name: string): Promise<Uint8Array> =>
      new Uint8Array(await readFile(join(FIXTURES, "numpy", `${name}.npy`)));
    const names = ["f4", "refused-structure", "refused-object", "refused-date", "strings"] as const;
    const entries = await Promise.all(names.map(async (name) => [`${name}.npy`, await npy(name)] as const));
    await writeFile(from, zipSync(Object.fromEntries(entries), { level: 0 }));
    await expect(converted(from)).rejects.toMatchObject({
      code: "unsupported",
      tensor: "refused-structure",
      message: expect.stringContaining("structures"),
    });
    expect(Object.keys((await converted(from, { skip: ["refused-*", "strings"] })) as object)).toEqual([
      "f4",
    ]);
  });

  test("has the scalars of an ONNX program where constants are asked for", async () => {
    const from = join(FIXTURES, "onnx-odd/scalars.onnx");
    const { store, folder } = await home();
    await store.add([from], { as: "scalars" });
    for (const ref of [from, "scalars"]) {
      await using weights = await openWeights(ref, { store, constants: true });
      const path = join(folder, `${ref === from ? "a" : "b"}.npz`);
      await convertWeights(weights, path);
      const tensors = parseNpz(new Uint8Array(await readFile(path)), path);
      expect(Object.keys(tensors).sort()).toEqual(["W", "bias1", "layer_scale"]);
    }
  });
});
