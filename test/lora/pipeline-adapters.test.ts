import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { parseSafetensors } from "../../src/formats/safetensors/parse.ts";
import type { Factor, LoraAdapter, LoraModule } from "../../src/lora/adapter.ts";
import { plainModule } from "../../src/lora/adapter.ts";
import type { LoraBase, Site } from "../../src/lora/lora-base.ts";
import { matchLora } from "../../src/lora/fit.ts";
import type { Weight } from "../../src/model/config.ts";
import type { StoredModel } from "../../src/model/stored-model.ts";
import { type Home, home } from "../support/home.ts";
import { float32Bytes, type SmallTensor, writeWeights } from "../support/lora-models.ts";
import { merge } from "../../src/operations/merge.ts";

type Tensors = Readonly<Record<string, SmallTensor>>;

const A: SmallTensor = { shape: [1, 2], values: [10, 100] };
const B: SmallTensor = { shape: [2, 1], values: [1, 2] };
const PRODUCT = [10, 100, 20, 200];
const ZEROS: SmallTensor = { shape: [2, 2] };

const alpha = (value: number): SmallTensor => ({ shape: [], bytes: float32Bytes([value]) });

function kohya(module: string, scale?: number): Tensors {
  const pair = { [`${module}.lora_down.weight`]: A, [`${module}.lora_up.weight`]: B };
  return scale === undefined ? pair : { ...pair, [`${module}.alpha`]: alpha(scale) };
}

function diffusers(module: string): Tensors {
  return { [`${module}.lora_A.weight`]: A, [`${module}.lora_B.weight`]: B };
}

async function withModels(
  base: Tensors,
  lora: Tensors,
  file = "lora.safetensors",
  metadata?: Record<string, string>,
): Promise<Home> {
  const at = await home();
  await at.store.add([await writeWeights(join(at.folder, "base.safetensors"), base)]);
  await at.store.add([await writeWeights(join(at.folder, file), lora, metadata)], { as: "lora" });
  return at;
}

async function merged(
  at: Home,
): Promise<{ readonly values: Record<string, readonly number[]>; readonly notes: readonly string[] }> {
  const { notes } = await merge(at.store, "base", [{ model: "lora" }], { as: "merged" });
  const { path } = await at.store.export("merged", join(at.folder, "out.safetensors"));
  const weights = parseSafetensors(new Uint8Array(await readFile(path)), path);
  const values = Object.entries(weights).map(([name, { bytes }]) => {
    return [name, [...new Float32Array(bytes.slice().buffer)]] as const;
  });
  return { values: Object.fromEntries(values), notes };
}

describe("a LoRA of kohya's trainers", () => {
  const name = "down_blocks.0.attentions.0.to_q";
  const key = "lora_unet_down_blocks_0_attentions_0_to_q";

  test.each([
    ["a pipeline's part", ""],
    ["a single file of a diffusion model", "model.diffusion_model."],
  ])("finds the module whose dots are underscores: %s", async (_, prefix) => {
    const base = { [`${prefix}${name}.weight`]: ZEROS, [`other.${name}.weight`]: ZEROS };
    const { values, notes } = await merged(await withModels(base, kohya(key, 2)));
    expect(values[`${prefix}${name}.weight`]).toEqual(PRODUCT.map((value) => 2 * value));
    expect(values[`other.${name}.weight`]).toEqual([0, 0, 0, 0]);
    expect(notes).toEqual([]);
  });

  test("without alpha has the rank in its place, and says so", async () => {
    const { values, notes } = await merged(await withModels({ [`${name}.weight`]: ZEROS }, kohya(key)));
    expect(values[`${name}.weight`]).toEqual(PRODUCT);
    expect(notes).toEqual([expect.stringContaining("without an alpha")]);
  });

  test.each<[string, Tensors, string, string]>([
    ["two modules are written alike", kohya("lora_unet_a_b_c", 1), "unsupported", "may be"],
    ["a part is not known", kohya("lora_prior_a_b", 1), "unsupported", "lora_prior_a_b"],
    ["alpha is 0", kohya("lora_unet_a_b_c", 0), "malformed", "alpha"],
    [
      "it has other weights",
      { ...kohya("lora_unet_a_b_c", 1), "lora_unet_a_b_c.dora_scale": B },
      "unsupported",
      "dora_scale",
    ],
    [
      "an alpha is alone",
      { ...kohya("lora_unet_a_b_c", 1), "lora_unet_x.alpha": alpha(1) },
      "missing-weight",
      "lora_unet_x",
    ],
    [
      "half a pair is missing",
      { ...kohya("lora_unet_a_b_c", 1), "lora_unet_x.lora_up.weight": B },
      "missing-weight",
      "other matrix",
    ],
  ])("is refused by name where %s", async (_, lora, code, message) => {
    const at = await withModels({ "a.b_c.weight": ZEROS, "a_b.c.weight": ZEROS }, lora);
    await expect(merged(at)).rejects.toMatchObject({ code, message: expect.stringContaining(message) });
  });
});

describe("a LoRA of diffusers", () => {
  const base = { "blocks.0.to_q.weight": ZEROS };
  const metadata = (json: object): Record<string, string> => ({
    lora_adapter_metadata: JSON.stringify(json),
  });

  test.each<[string, Tensors]>([
    ["lora.down", { "unet.blocks.0.to_q.lora.down.weight": A, "unet.blocks.0.to_q.lora.up.weight": B }],
    ["lora_down", { "unet.blocks.0.to_q.lora_down.weight": A, "unet.blocks.0.to_q.lora_up.weight": B }],
    [
      "lora_linear_layer",
      {
        "unet.blocks.0.to_q.lora_linear_layer.down.weight": A,
        "unet.blocks.0.to_q.lora_linear_layer.up.weight": B,
      },
    ],
  ])("is read in older forms too, with alphas: %s", async (_, lora) => {
    const { values } = await merged(
      await withModels(base, { ...lora, "unet.blocks.0.to_q.alpha": alpha(3) }),
    );
    expect(values["blocks.0.to_q.weight"]).toEqual(PRODUCT.map((value) => 3 * value));
  });

  test("has the settings of the file, also for its patterns", async () => {
    const settings = {
      "unet.r": 4,
      "unet.lora_alpha": 4,
      "unet.rank_pattern": { ".*to_q": 1 },
      "unet.use_dora": false,
    };
    const { values } = await merged(
      await withModels(base, diffusers("unet.blocks.0.to_q"), "any.safetensors", metadata(settings)),
    );
    expect(values["blocks.0.to_q.weight"]).toEqual(PRODUCT.map((value) => 4 * value));
  });

  test("without settings is diffusers' own by its file's name, or refused", async () => {
    const lora = diffusers("unet.blocks.0.to_q");
    const { values, notes } = await merged(await withModels(base, lora, "pytorch_lora_weights.safetensors"));
    expect(values["blocks.0.to_q.weight"]).toEqual(PRODUCT);
    expect(notes).toEqual([expect.stringContaining("as in diffusers")]);
    await expect(merged(await withModels(base, lora))).rejects.toMatchObject({ code: "not-found" });
  });

  test.each<[string, Tensors, Record<string, string>, string, string]>([
    [
      "DoRA",
      diffusers("unet.blocks.0.to_q"),
      metadata({ "unet.r": 1, "unet.lora_alpha": 1, "unet.use_dora": true }),
      "unsupported",
      "use_dora",
    ],
    ["no settings", diffusers("unet.blocks.0.to_q"), metadata([]), "malformed", "not an object"],
    [
      "alphas said twice",
      { ...diffusers("unet.blocks.0.to_q"), "unet.blocks.0.to_q.alpha": alpha(1) },
      metadata({ "unet.r": 1, "unet.lora_alpha": 1 }),
      "duplicate",
      "alphas",
    ],
    [
      "parts that the base is not",
      { ...diffusers("unet.blocks.0.to_q"), ...diffusers("text_encoder.layers.0.q_proj") },
      metadata({ "unet.r": 1, "unet.lora_alpha": 1, "text_encoder.r": 1, "text_encoder.lora_alpha": 1 }),
      "missing-weight",
      "layers.0.q_proj",
    ],
  ])("with %s is refused by name", async (_, lora, settings, code, message) => {
    const at = await withModels(base, lora, "lora.safetensors", settings);
    await expect(merged(at)).rejects.toMatchObject({ code, message: expect.stringContaining(message) });
  });
});

describe("matchLora() with a pipeline of several folders", () => {
  const weight = (letter: string, shape = [2, 2]): Weight => {
    return { name: "layers.0.q.weight", dtype: "float32", shape, digest: `sha256:${letter.repeat(64)}` };
  };
  const site = (component: string, letter: string): Site => {
    const common = { modules: ["layers.0.q"], transposed: undefined, refusal: undefined };
    return { ...common, method: component, component, weight: weight(letter) };
  };
  const base = (...sites: readonly Site[]): LoraBase => {
    return { name: "base", format: "safetensors", architecture: undefined, sites };
  };
  const adapter = (module: LoraModule): LoraAdapter => {
    const factor = (shape: number[]): Factor => ({ weight: weight("f", shape), transposed: false });
    const [left, right] = [factor([2, 1]), factor([1, 2])];
    const numbers = { rank: 1, alpha: 1, scaling: 1, embedding: false, fanInFanOut: false };
    const pairs = [{ ...module, ...numbers, shape: [2, 2] as const, left, right }];
    const model = { name: "lora" } as StoredModel;
    return { model, layout: "kohya", architecture: undefined, pairs, copies: [], notes: [] };
  };
  const both = base(site("text_encoder", "a"), site("text_encoder_2", "b"));

  test("takes the part that the LoRA names", () => {
    const module = { module: "x", target: "layers_0_q", components: ["text_encoder_2"], flattened: true };
    const { targets } = matchLora(adapter(module), both);
    expect(targets.map((each) => each.site.component)).toEqual(["text_encoder_2"]);
  });

  test("refuses a LoRA that says no part, unless both have the same weight", () => {
    const plain = adapter(plainModule("layers.0.q"));
    expect(() => matchLora(plain, both)).toThrow(
      /may be "text_encoder\/layers.0.q", "text_encoder_2\/layers.0.q"/,
    );
    const same = base(site("text_encoder", "a"), site("text_encoder_2", "a"));
    expect(matchLora(plain, same).targets).toHaveLength(2);
  });
});
