import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { charlmGguf } from "../../fixtures/charlm/rebuild-gguf.mjs";
import { openStore, type TareStore } from "../../src/tare-store.ts";
import { CHARLM_MODELS } from "../support/charlm.ts";
import { python } from "../support/python.ts";
import { temporaryFolder } from "../support/temporary.ts";
import { split } from "../../src/operations/split/split.ts";
import { link } from "../../src/link/link-folder.ts";

async function familyStore(): Promise<{ store: TareStore; folder: string }> {
  const folder = await temporaryFolder();
  const store = await openStore({ path: join(folder, "store") });
  for (const model of CHARLM_MODELS) await store.add([await charlmGguf(model)], { as: model });
  return { store, folder };
}

/** The GGUF files of a folder. */
async function ggufIn(folder: string): Promise<string[]> {
  const names = (await readdir(folder)).filter((name) => name.endsWith(".gguf")).sort();
  return names.map((name) => join(folder, name));
}

describe("Python's gguf", () => {
  test("reads the shards of a split as what the model was", async () => {
    const { store, folder } = await familyStore();
    await split(store, CHARLM_MODELS, join(folder, "dist"));
    for (const model of CHARLM_MODELS) {
      const original = await python("gguf", await charlmGguf(model));
      expect(Object.keys(original.tensors as object)).toHaveLength(48);
      expect(await python("gguf", ...(await ggufIn(join(folder, "dist", model))))).toEqual(original);
    }
  });

  test("reads the shards of a view as what the model was", async () => {
    const { store, folder } = await familyStore();
    for (const model of CHARLM_MODELS) {
      const { path } = await link(store, model, join(folder, model));
      expect(await python("gguf", ...(await ggufIn(path)))).toEqual(
        await python("gguf", await charlmGguf(model)),
      );
    }
  });
});

describe("Python's safetensors", () => {
  test("reads the parts of a split as what the model was", async () => {
    const folder = await temporaryFolder();
    const store = await openStore({ path: join(folder, "store") });
    const base = new URL("../../fixtures/charlm/base.safetensors", import.meta.url).pathname;
    const kjv = new URL("../../fixtures/charlm/kjv.safetensors", import.meta.url).pathname;
    await store.add([base], { as: "base" });
    await split(store, ["base"], join(folder, "dist"), { rules: [{ part: "adapter", layers: [3, 4] }] });
    const parts = await Promise.all(
      ["foundation", "adapter-base"].map((name) =>
        python("tensors", join(folder, "dist", `${name}.safetensors`)),
      ),
    );
    expect(Object.assign({}, ...parts)).toEqual(await python("tensors", base));
    await store.add([kjv], { as: "kjv" });
    await expect(split(store, ["base", "kjv"], join(folder, "none"))).rejects.toMatchObject({
      code: "missing-weight",
    });
  });
});
