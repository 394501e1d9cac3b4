import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { parseGgufHeader } from "../../src/formats/gguf/parse.ts";
import { parseSafetensors } from "../../src/formats/safetensors/parse.ts";
import { type Home, home } from "../support/home.ts";
import { npzFloats } from "../support/npz.ts";
import { describeModel } from "../../src/operations/describe.ts";
import { merge, type MergeResult } from "../../src/operations/merge.ts";
import { diff } from "../../src/operations/diff/diff.ts";

const fixture = (path: string): string =>
  fileURLToPath(new URL(`../../fixtures/lora/${path}`, import.meta.url));

/** A store with a base and an adapter of the fixtures. */
async function withModels(base: string, lora: string): Promise<Home> {
  const at = await home();
  await at.store.add([fixture(base)], { as: "base" });
  await at.store.add([fixture(lora)], { as: "lora" });
  return at;
}

async function mergeIn({ store }: Home, map?: Record<string, string>): Promise<MergeResult> {
  return merge(store, "base", [{ model: "lora" }], { as: "merged", map });
}

type Weights = Record<string, Float32Array>;

async function exported({ store, folder }: Home, file: string): Promise<Weights> {
  await store.export("merged", join(folder, "out"));
  return floatsOf(join(folder, "out", file));
}

async function floatsOf(path: string): Promise<Weights> {
  const tensors = parseSafetensors(new Uint8Array(await readFile(path)), path);
  return Object.fromEntries(
    Object.entries(tensors).map(([name, { bytes }]) => [name, new Float32Array(bytes.slice().buffer)]),
  );
}

async function wanted(folder: string): Promise<Weights> {
  return npzFloats(new Uint8Array(await readFile(fixture(`${folder}/want.npz`))));
}

function expectClose(actual: Float32Array | undefined, expected: Float32Array | undefined): void {
  expect(actual?.length).toBe(expected?.length);
  let worst = 0;
  expected?.forEach((value, at) => (worst = Math.max(worst, Math.abs(value - (actual?.[at] ?? 0)))));
  expect(worst).toBeLessThan(1e-5);
}

/** w + scale × B·A, with `width` columns. */
function added(
  weight: Float32Array,
  a: Float32Array,
  b: Float32Array,
  scale: number,
  width: number,
): Float32Array {
  const rank = a.length / width;
  return weight.map((value, at) => {
    const [row, column] = [Math.floor(at / width), at % width];
    let sum = 0;
    for (let k = 0; k < rank; k++) sum += (b[row * rank + k] ?? 0) * (a[k * width + column] ?? 0);
    return value + scale * sum;
  });
}

describe("a LoRA of PEFT", () => {
  test.each(["peft-gpt2-mixed", "peft-gpt2-square"])(
    "for GPT-2 is turned for each module as the base has it: %s",
    async (folder) => {
      const at = await withModels("peft-gpt2-mixed/base", `${folder}/adapter`);
      await mergeIn(at);
      const weights = await exported(at, "model.safetensors");
      const want = await wanted(folder);
      expect(Object.keys(want).length).toBeGreaterThan(1);
      for (const [name, values] of Object.entries(want)) expectClose(weights[name], values);
    },
  );

  test("for GPT-2 without its config.json finds a square weight's orientation by c_attn, or refuses it", async () => {
    const mixed = await withModels("peft-gpt2-mixed/base/model.safetensors", "peft-gpt2-square/adapter");
    await mergeIn(mixed);
    const want = await wanted("peft-gpt2-square");
    await mixed.store.export("merged", join(mixed.folder, "out.safetensors"));
    const weights = await floatsOf(join(mixed.folder, "out.safetensors"));
    for (const [name, values] of Object.entries(want)) expectClose(weights[name], values);
  });

  test("whose start changed the base (LoRA-GA) is refused by name, and listed with the reason", async () => {
    const at = await withModels("peft-pattern-regex/base", "peft-lora-ga/adapter");
    await expect(mergeIn(at)).rejects.toMatchObject({
      code: "unsupported",
      message: expect.stringContaining('init_lora_weights: "lora_ga"'),
      hint: expect.stringContaining("path_initial_model_for_weight_conversion"),
    });
    expect((await describeModel(at.store, "lora")).lora?.refusal).toContain("lora_ga");
  });

  test("with a regular expression in rank_pattern is read as PEFT reads it", async () => {
    const at = await withModels("peft-pattern-regex/base", "peft-pattern-regex/adapter");
    expect(await mergeIn(at)).toMatchObject({ weights: 2, notes: [] });
    const [base, lora, weights] = [
      await floatsOf(fixture("peft-pattern-regex/base/model.safetensors")),
      await floatsOf(fixture("peft-pattern-regex/adapter/adapter_model.safetensors")),
      await exported(at, "model.safetensors"),
    ];
    for (const [end, scale] of [
      ["q_proj", 16 / 8],
      ["v_proj", 16 / 4],
    ] as const) {
      const module = `model.layers.0.self_attn.${end}`;
      const [a, b] = ["A", "B"].map((half) => lora[`base_model.model.${module}.lora_${half}.weight`]);
      const [weight, from] = [`${module}.weight`, base[`${module}.weight`]];
      expectClose(
        weights[weight],
        added(from as Float32Array, a as Float32Array, b as Float32Array, scale, 64),
      );
    }
  });

  test("in adapter_model.bin is one", async () => {
    const at = await withModels("peft-pattern-regex/base", "peft-bin/adapter");
    expect(await mergeIn(at)).toMatchObject({ weights: 1 });
    expect((await describeModel(at.store, "lora")).lora).toMatchObject({
      ranks: [4],
      alphas: [16],
      bases: ["base", "merged"],
    });
    const { changed } = await diff(at.store, "base", "merged");
    expect(changed.map((each) => each.name)).toEqual(["model.layers.0.self_attn.q_proj.weight"]);
  });

  test("for a 1×1 convolution is one for a matrix", async () => {
    const at = await withModels("peft-conv/base", "peft-conv/adapter");
    expect(await mergeIn(at)).toMatchObject({ weights: 1 });
    const lora = await floatsOf(fixture("peft-conv/adapter/adapter_model.safetensors"));
    const base = await floatsOf(fixture("peft-conv/base/model.safetensors"));
    const [a, b] = ["A", "B"].map((half) => lora[`base_model.model.down.conv.lora_${half}.weight`]);
    const weights = await exported(at, "model.safetensors");
    const want = added(base["down.conv.weight"] as Float32Array, a as Float32Array, b as Float32Array, 4, 8);
    expectClose(weights["down.conv.weight"], want);
    expect(weights["down.conv3.weight"]).toEqual(base["down.conv3.weight"]);
  });

  test("for embeddings leaves out copies that equal the base's, and says so", async () => {
    const at = await withModels("peft-llama-embed/base", "peft-llama-embed/adapter");
    const { notes } = await mergeIn(at);
    expect(notes).toEqual([
      expect.stringMatching(/^LoRA "lora": .*lm_head\.base_layer.*are left out: they equal/),
    ]);
    const weights = await exported(at, "model.safetensors");
    for (const [name, values] of Object.entries(await wanted("peft-llama-embed")))
      expectClose(weights[name], values);
    // What was merged has other embeddings: the copies are not its own any more.
    await expect(merge(at.store, "merged", [{ model: "lora" }], { as: "twice" })).rejects.toMatchObject({
      code: "unsupported",
      message: expect.stringContaining("lm_head.base_layer.weight"),
      hint: expect.stringContaining("merge_and_unload"),
    });
    expect((await describeModel(at.store, "lora")).lora?.bases).toEqual(["base"]);
  });
});

describe("a LoRA of diffusers", () => {
  test("is merged into its component, with the settings of the file's metadata", async () => {
    const at = await withModels("diffusers/base", "diffusers/pytorch_lora_weights.safetensors");
    expect(await mergeIn(at)).toMatchObject({ weights: 1, notes: [] });
    const [name, module] = ["diffusion_pytorch_model.safetensors", "transformer_blocks.0.attn.to_q"];
    const base = await floatsOf(fixture(`diffusers/base/${name}`));
    const lora = await floatsOf(fixture("diffusers/pytorch_lora_weights.safetensors"));
    const [a, b] = ["A", "B"].map((half) => lora[`transformer.${module}.lora_${half}.weight`]);
    const { store, folder } = at;
    await store.export("merged", join(folder, name));
    const weights = await floatsOf(join(folder, name));
    const from = base[`${module}.weight`];
    expectClose(
      weights[`${module}.weight`],
      added(from as Float32Array, a as Float32Array, b as Float32Array, 1, 64),
    );
  });
});

describe("a LoRA of kohya's trainers", () => {
  test("is recognized, refused with what the base lacks, and mapped where names say it", async () => {
    const at = await withModels("diffusers/base", "kohya/style.safetensors");
    expect((await describeModel(at.store, "lora")).lora).toMatchObject({
      refusal: undefined,
      ranks: [4],
      targets: 1,
    });
    await expect(mergeIn(at)).rejects.toMatchObject({
      code: "missing-weight",
      message: expect.stringContaining('"lora_unet_down_blocks_0_attn_to_q"'),
    });
    const map = { lora_unet_down_blocks_0_attn_to_q: "transformer_blocks.0.attn.to_q" };
    expect(await mergeIn(at, map)).toMatchObject({ weights: 1 });
  });
});

describe("a LoRA of llama.cpp", () => {
  const q = "blk.0.attn_q.weight";
  test.each([
    ["norm", { [q]: "q" }],
    ["emb", { [q]: "q", "token_embd.weight": "e" }],
  ] as const)("is merged as llama.cpp applies it: %s", async (name, targets) => {
    const at = await withModels("gguf/base.gguf", `gguf/${name}.gguf`);
    const { notes } = await mergeIn(at);
    const left =
      'LoRA "lora": "blk.0.attn_norm.weight" is left out, as llama.cpp does: norms have no LoRA pair';
    expect(notes).toEqual(name === "norm" ? [left] : []);
    expect((await describeModel(at.store, "lora")).lora?.notes).toHaveLength(notes.length);
    const { path } = await at.store.export("merged", join(at.folder, "out.gguf"));
    const file = new Uint8Array(await readFile(path));
    const tensors = parseGgufHeader(file, { name: path, size: file.byteLength })?.tensors ?? [];
    const want = await wanted("gguf");
    for (const [target, key] of Object.entries(targets)) {
      const { offset = 0, length = 0 } = tensors.find((each) => each.name === target) ?? {};
      expectClose(new Float32Array(file.slice(offset, offset + length).buffer), want[key]);
    }
  });
});
