import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { parseSafetensors } from "../../src/formats/safetensors/parse.ts";
import { readFile } from "node:fs/promises";
import type { MergeResult } from "../../src/operations/merge.ts";
import { home } from "../support/home.ts";
import { type SmallTensor, writePeftLora, writeWeights } from "../support/lora-models.ts";
import { merge } from "../../src/operations/merge.ts";

type Tensors = Readonly<Record<string, SmallTensor>>;

const A: SmallTensor = { shape: [1, 2], values: [10, 100] };
const B: SmallTensor = { shape: [2, 1], values: [1, 2] };
/** B·A, and the same turned. */
const PRODUCT = [10, 100, 20, 200];
const TURNED = [10, 20, 100, 200];
const ZEROS: SmallTensor = { shape: [2, 2] };

/** Pairs of rank 1 for square modules of two rows. */
function pairs(...modules: readonly string[]): Tensors {
  return Object.fromEntries(
    modules.flatMap((module) => [
      [`base_model.model.${module}.lora_A.weight`, A],
      [`base_model.model.${module}.lora_B.weight`, B],
    ]),
  );
}

interface Case {
  readonly base: Tensors;
  readonly lora: Tensors;
  /** Settings of the adapter. */
  readonly peft?: Readonly<Record<string, unknown>>;
  /** The base's config.json. */
  readonly config?: object;
}

/** Merges a PEFT adapter into a folder of safetensors, and reads what came out. */
async function merged({
  base,
  lora,
  peft,
  config,
}: Case): Promise<MergeResult & { readonly values: Values }> {
  const { store, folder } = await home();
  await writeWeights(join(folder, "base", "model.safetensors"), base);
  await writeFile(join(folder, "base", "config.json"), JSON.stringify(config ?? {}));
  await store.add([join(folder, "base")]);
  await store.add([await writePeftLora(join(folder, "lora"), lora, { r: 1, lora_alpha: 1, ...peft })]);
  const result = await merge(store, "base", [{ model: "lora" }], { as: "merged" });
  await store.export("merged", join(folder, "out"));
  return { ...result, values: await valuesOf(join(folder, "out", "model.safetensors")) };
}

type Values = Readonly<Record<string, readonly number[]>>;

async function valuesOf(path: string): Promise<Values> {
  const weights = parseSafetensors(new Uint8Array(await readFile(path)), path);
  return Object.fromEntries(
    Object.entries(weights).map(([name, { bytes }]) => [name, [...new Float32Array(bytes.slice().buffer)]]),
  );
}

describe("the orientation of a square weight", () => {
  const name = "h.0.attn.c_proj";
  const square = { [`${name}.weight`]: ZEROS };
  const lora = pairs(name);

  test.each<[string, Partial<Case>, readonly number[]]>([
    ["the model_type says that it is a Conv1D", { config: { model_type: "gpt2" } }, TURNED],
    [
      "the bias of another module of GPT-2's names does",
      { base: { ...square, "h.0.mlp.c_fc.weight": { shape: [2, 8] }, "h.0.mlp.c_fc.bias": { shape: [8] } } },
      TURNED,
    ],
    [
      "that bias says that it is a linear layer",
      { base: { ...square, "h.0.mlp.c_fc.weight": { shape: [8, 2] }, "h.0.mlp.c_fc.bias": { shape: [8] } } },
      PRODUCT,
    ],
    [
      "c_attn of a linear GPT says so",
      { base: { ...square, "h.0.attn.c_attn.weight": { shape: [6, 2] } } },
      PRODUCT,
    ],
    [
      "another pair fits one way only",
      {
        base: { ...square, "h.0.mlp.c_proj.weight": { shape: [8, 2] } },
        lora: {
          ...lora,
          "base_model.model.h.0.mlp.c_proj.lora_A.weight": { shape: [1, 8] },
          "base_model.model.h.0.mlp.c_proj.lora_B.weight": B,
        },
      },
      TURNED,
    ],
  ])("is known where %s", async (_, change, values) => {
    for (const fan_in_fan_out of [false, true]) {
      const { values: all } = await merged({ base: square, lora, ...change, peft: { fan_in_fan_out } });
      expect(all[`${name}.weight`]).toEqual(values);
    }
  });

  test("is [out, in] for what is no Conv1D of GPT-2, whatever the adapter's flag says", async () => {
    const config = { model_type: "gpt2" };
    const base = { "lm_head.weight": ZEROS, "h.0.attn.c_attn.weight": { shape: [2, 6] } };
    const { values } = await merged({ base, lora: pairs("lm_head"), config, peft: { fan_in_fan_out: true } });
    expect(values["lm_head.weight"]).toEqual(PRODUCT);
  });

  test.each<[string, Case]>([
    ["nothing tells of a module of GPT-2's names", { base: square, lora }],
    [
      "an adapter says that some are turned",
      { base: { "fc.weight": ZEROS }, lora: pairs("fc"), peft: { fan_in_fan_out: true } },
    ],
    [
      "a bias of the base shows that it has others than linear layers",
      {
        base: { "fc2.weight": ZEROS, "fc1.weight": { shape: [2, 8] }, "fc1.bias": { shape: [8] } },
        lora: pairs("fc2"),
      },
    ],
    [
      "other modules disagree",
      {
        base: {
          ...square,
          "h.0.mlp.c_fc.weight": { shape: [2, 8] },
          "h.0.mlp.c_fc.bias": { shape: [8] },
          "h.1.mlp.c_fc.weight": { shape: [8, 2] },
          "h.1.mlp.c_fc.bias": { shape: [8] },
        },
        lora,
      },
    ],
  ])("is refused by name where %s", async (_, each) => {
    await expect(merged(each)).rejects.toMatchObject({
      code: "unsupported",
      message: expect.stringMatching(/is square, and the model does not show/),
    });
  });

  test("is not asked of a weight that fits one way, unless that way needs a reason", async () => {
    const flat = { "fc.weight": { shape: [3, 2] } };
    const turned: Tensors = {
      "base_model.model.fc.lora_A.weight": { shape: [1, 3] },
      "base_model.model.fc.lora_B.weight": { shape: [2, 1] },
    };
    await expect(merged({ base: flat, lora: turned })).rejects.toMatchObject({ code: "mismatch" });
    expect(await merged({ base: flat, lora: turned, peft: { fan_in_fan_out: true } })).toMatchObject({
      weights: 1,
    });
    const bias = { ...flat, "fc.bias": { shape: [2] } };
    expect(await merged({ base: bias, lora: turned })).toMatchObject({ weights: 1 });
    const other = { ...flat, "fc.bias": { shape: [3] } };
    await expect(merged({ base: other, lora: turned, peft: { fan_in_fan_out: true } })).rejects.toMatchObject(
      {
        code: "mismatch",
      },
    );
  });
});

describe("a prefix of the base's names", () => {
  const inner = "model.layers.0.q";
  const tower = { [`audio_tower.${inner}.weight`]: ZEROS };

  test("is not taken for one of several towers, though all targets are in it", async () => {
    const base = { ...tower, "language_model.layers.0.q.weight": ZEROS, "lm_head.weight": ZEROS };
    await expect(merged({ base, lora: pairs(inner) })).rejects.toMatchObject({
      code: "missing-weight",
      hint: expect.stringMatching(/"audio_tower\.".*--map/),
    });
  });

  test.each<[string, Tensors, string]>([
    ["is a known wrapper", { "model.layers.0.q.weight": ZEROS, "lm_head.weight": ZEROS }, "layers.0.q"],
    [
      "is several known wrappers",
      { "module.model.layers.0.q.weight": ZEROS, "x.weight": ZEROS },
      "layers.0.q",
    ],
    ["stands before all of the base", tower, inner],
  ])("is taken where it %s", async (_, base, module) => {
    const { values } = await merged({ base, lora: pairs(module) });
    expect(values[Object.keys(base)[0] as string]).toEqual(PRODUCT);
  });

  test("is not taken where two are possible", async () => {
    const base = { "model.layers.0.q.weight": ZEROS, "draft.layers.0.q.weight": ZEROS };
    await expect(merged({ base, lora: pairs("layers.0.q") })).rejects.toMatchObject({
      code: "missing-weight",
      hint: expect.stringMatching(/"draft\.", "model\."/),
    });
  });
});

describe("whole weights beside the pairs", () => {
  const base = { "q.weight": ZEROS, "lm_head.weight": { shape: [2, 2], values: [1, 2, 3, 4] } };
  const copy = base["lm_head.weight"];

  test.each([
    ["base_layer", "lm_head.base_layer.weight", {}],
    ["resized embeddings", "lm_head.weight", {}],
    ["modules_to_save", "lm_head.weight", { modules_to_save: ["lm_head"] }],
  ])("are left out where they equal the base's: %s", async (_, name, peft) => {
    const lora = { ...pairs("q"), [`base_model.model.${name}`]: copy };
    const { notes, values } = await merged({ base, lora, peft });
    expect(notes).toEqual([
      `LoRA "lora": "base_model.model.${name}" is left out: it equals the base's weight`,
    ]);
    expect(values).toEqual({ "q.weight": PRODUCT, "lm_head.weight": copy.values });
  });

  test("are the base's too where it has them under the other name of a tied weight", async () => {
    const tied = { "q.weight": ZEROS, "embed_tokens.weight": copy };
    const lora = { ...pairs("q"), "base_model.model.lm_head.base_layer.weight": copy };
    expect(await merged({ base: tied, lora })).toMatchObject({
      weights: 1,
      notes: [expect.stringContaining("left out")],
    });
  });

  test.each<[string, string, SmallTensor, object, string]>([
    ["was trained", "lm_head.weight", ZEROS, { modules_to_save: ["lm_head"] }, "modules_to_save"],
    [
      "is of another base",
      "lm_head.base_layer.weight",
      ZEROS,
      {},
      'differs from the base\'s "lm_head.weight"',
    ],
    ["has more rows", "lm_head.weight", { shape: [3, 2] }, {}, "float32 [3, 2] instead of float32 [2, 2]"],
    ["the base lacks", "score.weight", { shape: [3, 2] }, {}, "the base has no such weight"],
  ])("are refused by name: one that %s", async (_, name, tensor, peft, message) => {
    const lora = { ...pairs("q"), [`base_model.model.${name}`]: tensor };
    await expect(merged({ base, lora, peft: { ...peft } })).rejects.toMatchObject({
      code: "unsupported",
      tensor: `base_model.model.${name}`,
      message: expect.stringContaining(message),
      hint: expect.stringContaining("merge_and_unload"),
    });
  });

  test("are refused where the adapter lacks what its config promises", async () => {
    await expect(
      merged({ base, lora: pairs("q"), peft: { modules_to_save: ["lm_head"] } }),
    ).rejects.toMatchObject({ code: "unsupported", message: expect.stringContaining("modules_to_save") });
  });
});
