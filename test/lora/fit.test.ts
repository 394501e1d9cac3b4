import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { parseGgufHeader } from "../../src/formats/gguf/parse.ts";
import { parseSafetensors } from "../../src/formats/safetensors/parse.ts";
import { openStore } from "../../src/tare-store.ts";
import { parseNameMapping } from "../../src/lora/mapping.ts";
import {
  float32Bytes,
  type SmallTensor,
  writeGguf,
  writeGgufLora,
  writePeftLora,
  writeWeights,
} from "../support/lora-models.ts";
import { type Home, home } from "../support/home.ts";
import { merge } from "../../src/operations/merge.ts";

const BASE: Readonly<Record<string, SmallTensor>> = {
  "blk.0.attn_q.weight": { shape: [4, 8] },
  "blk.0.attn_k.weight": { shape: [4, 8], values: Array.from({ length: 32 }, (_, at) => at) },
  "blk.0.norm.weight": { shape: [8], values: [1, 2, 3, 4, 5, 6, 7, 8] },
};
/** A rank of 2, for attn_q. */
const A: SmallTensor = { shape: [2, 8], values: Array.from({ length: 16 }, (_, at) => at / 8) };
const B: SmallTensor = { shape: [4, 2], values: [1, 0, 0, 1, 1, 1, -1, 2] };
const PAIR = { "blk.0.attn_q.weight.lora_a": A, "blk.0.attn_q.weight.lora_b": B };

/** One for all: what a test adds to it has names of its own. */
let shared: Home;
let serial = 0;

beforeAll(async () => {
  const folder = await mkdtemp(join(tmpdir(), "tare-test-"));
  const store = await openStore({ path: join(folder, "store") });
  shared = { store, folder };
  await store.add([await writeGguf(join(folder, "base.gguf"), BASE)]);
  await store.add([await writeGguf(join(folder, "other.gguf"), { "x.weight": { shape: [8] } })]);
  return async () => {
    await rm(folder, { recursive: true, force: true });
  };
});

/** Adds a LoRA under a name of its own. */
async function addLora({ store, folder }: Home, write: (path: string) => Promise<string>): Promise<string> {
  const name = `lora-${serial++}`;
  await store.add([await write(join(folder, name))], { as: name });
  return name;
}

function addGguf(
  at: Home,
  tensors: Readonly<Record<string, SmallTensor>>,
  metadata?: Readonly<Record<string, string | number>>,
): Promise<string> {
  return addLora(at, (path) => writeGgufLora(`${path}.gguf`, tensors, metadata));
}

function addPeft(
  at: Home,
  tensors: Readonly<Record<string, SmallTensor>>,
  config?: Readonly<Record<string, unknown>>,
): Promise<string> {
  return addLora(at, (path) => writePeftLora(path, tensors, config));
}

/** Merges into `base` and reads the weights of what came out. */
async function merged(
  at: Home,
  lora: string,
  scale?: number,
): Promise<Readonly<Record<string, readonly number[]>>> {
  const as = `merged-${serial++}`;
  await merge(at.store, "base", [{ model: lora, scale }], { as });
  return weightsOf(at, as);
}

async function weightsOf({ store, folder }: Home, model: string): Promise<Record<string, readonly number[]>> {
  const { path } = await store.export(model, join(folder, `out-${model}.gguf`));
  const file = new Uint8Array(await readFile(path));
  const tensors = parseGgufHeader(file, { name: path, size: file.byteLength })?.tensors ?? [];
  return Object.fromEntries(
    tensors.map(({ name, offset, length }) => [
      name,
      [...new Float32Array(file.slice(offset, offset + length).buffer)],
    ]),
  );
}

/** B · A times a scale, row after row. */
function delta(scale: number): number[] {
  const [a, b] = [A.values as number[], B.values as number[]];
  return Array.from({ length: 32 }, (_, at) => {
    const [row, column] = [Math.floor(at / 8), at % 8];
    return (
      scale *
      ((b[2 * row] as number) * (a[column] as number) +
        (b[2 * row + 1] as number) * (a[8 + column] as number))
    );
  });
}

describe("a GGUF LoRA", () => {
  test("adds scale × alpha / rank × B·A to its target, and to nothing else", async () => {
    const lora = await addGguf(shared, PAIR, { "adapter.lora.alpha": 6 });
    expect(await merged(shared, lora, 0.5)).toEqual({
      "blk.0.attn_q.weight": delta(1.5),
      "blk.0.attn_k.weight": BASE["blk.0.attn_k.weight"]?.values,
      "blk.0.norm.weight": BASE["blk.0.norm.weight"]?.values,
    });
  });

  test("without alpha is scaled by the scale alone", async () => {
    const lora = await addGguf(shared, PAIR, { "adapter.lora.alpha": 0 });
    expect((await merged(shared, lora, 3))["blk.0.attn_q.weight"]).toEqual(delta(3));
  });

  test("has A and B of the embedding exchanged", async () => {
    const { store, folder } = await home();
    await store.add([await writeGguf(join(folder, "base.gguf"), { "token_embd.weight": { shape: [3, 4] } })]);
    // llama.cpp: A is [vocabulary, rank], B is [width, rank].
    const pair = {
      "token_embd.weight.lora_a": { shape: [3, 1], values: [1, 2, 3] },
      "token_embd.weight.lora_b": { shape: [4, 1], values: [1, 10, 100, 1000] },
    };
    const lora = await addGguf({ store, folder }, pair, { "adapter.lora.alpha": 1 });
    const { "token_embd.weight": embedding } = await merged({ store, folder }, lora);
    expect(embedding).toEqual([1, 10, 100, 1000, 2, 20, 200, 2000, 3, 30, 300, 3000]);
  });

  test.each<[string, Readonly<Record<string, SmallTensor>>, Record<string, string | number>, unknown]>([
    [
      "for another base",
      { "blk.7.attn_q.weight.lora_a": A, "blk.7.attn_q.weight.lora_b": B, ...PAIR },
      {},
      {
        code: "missing-weight",
        message: expect.stringContaining('1 of its 2 targets are not in "base": "blk.7.attn_q"'),
      },
    ],
    [
      "of another architecture",
      PAIR,
      { "general.architecture": "gemma" },
      { code: "mismatch", message: expect.stringMatching(/"gemma".*"llama"/) },
    ],
    [
      "without B",
      { "blk.0.attn_q.weight.lora_a": A },
      {},
      { code: "missing-weight", tensor: "blk.0.attn_q.weight.lora_a" },
    ],
    [
      "whose ranks differ",
      { ...PAIR, "blk.0.attn_q.weight.lora_b": { shape: [4, 3] } },
      {},
      { code: "mismatch", message: expect.stringContaining("A is [2, 8], B is [4, 3]") },
    ],
    [
      "of rank 0",
      { "blk.0.attn_q.weight.lora_a": { shape: [0, 8] }, "blk.0.attn_q.weight.lora_b": { shape: [4, 0] } },
      {},
      { code: "mismatch", message: expect.stringContaining("is 0") },
    ],
    [
      "of another shape",
      { ...PAIR, "blk.0.attn_q.weight.lora_b": { shape: [5, 2] } },
      {},
      {
        code: "mismatch",
        tensor: "blk.0.attn_q.weight",
        message: expect.stringContaining("[4, 8], and its LoRA is [5, 8]"),
      },
    ],
    [
      "the other way round",
      { "blk.0.attn_q.weight.lora_a": { shape: [2, 4] }, "blk.0.attn_q.weight.lora_b": { shape: [8, 2] } },
      {},
      { code: "mismatch" },
    ],
    [
      "of whole numbers",
      { ...PAIR, "blk.0.attn_q.weight.lora_a": { shape: [2, 8], dtype: "int8" } },
      {},
      { code: "unsupported", message: expect.stringContaining("int8") },
    ],
    [
      "with a weight that is no pair",
      { ...PAIR, "blk.0.norm.weight": { shape: [8] } },
      {},
      { code: "unsupported", tensor: "blk.0.norm.weight" },
    ],
    [
      "of vectors",
      { "blk.0.norm.weight.lora_a": { shape: [8] }, "blk.0.norm.weight.lora_b": { shape: [8] } },
      {},
      { code: "unsupported" },
    ],
    [
      "that is none",
      { "blk.0.norm.weight": { shape: [8] } },
      {},
      { code: "mismatch", message: expect.stringContaining("no LoRA pair") },
    ],
    [
      "of another kind",
      PAIR,
      { "adapter.type": "ia3" },
      { code: "unsupported", message: expect.stringContaining("adapter.type") },
    ],
    ["without alpha", PAIR, { "adapter.lora.alpha": "2" }, { code: "malformed" }],
    [
      "with a NaN",
      {
        ...PAIR,
        "blk.0.attn_q.weight.lora_b": {
          shape: [4, 2],
          bytes: float32Bytes([0, Number.NaN, 0, 0, 0, 0, 0, 0]),
        },
      },
      {},
      { code: "out-of-range", tensor: "blk.0.attn_q.weight.lora_b" },
    ],
  ])("%s is refused, and nothing is stored", async (_, tensors, metadata, error) => {
    const { store } = shared;
    const model = await addGguf(shared, tensors, metadata);
    const before = await store.status();
    await expect(merge(store, "base", [{ model }], { as: "refused" })).rejects.toMatchObject(error as object);
    expect(await store.status()).toEqual(before);
  });
});

describe("a PEFT LoRA", () => {
  const names = (end: string): Readonly<Record<string, SmallTensor>> => ({
    [`base_model.model.blk.0.attn_q.lora_A${end}`]: A,
    [`base_model.model.blk.0.attn_q.lora_B${end}`]: B,
  });

  test.each<[string, string, Record<string, unknown>, number]>([
    ["alpha over rank", ".weight", {}, 2],
    ["the name of an adapter", ".default.weight", {}, 2],
    ["alpha over the root of the rank", ".weight", { use_rslora: true }, 4 / Math.SQRT2],
    ["a rank of its own", ".weight", { r: 8, rank_pattern: { attn_q: 2 } }, 2],
    ["an alpha of its own", ".weight", { alpha_pattern: { "blk.0.attn_q": 12, attn_q: 1 } }, 6],
    ["an alpha for its whole name", ".weight", { alpha_pattern: { "^attn_q": 1, "^blk.0.attn_q": 12 } }, 6],
    [
      "settings that change nothing",
      ".weight",
      { modules_to_save: [], rank_pattern: {}, use_dora: false },
      2,
    ],
  ])("is scaled as PEFT does: %s", async (_, end, config, scaling) => {
    const lora = await addPeft(shared, names(end), config);
    const { "blk.0.attn_q.weight": q } = await merged(shared, lora);
    const scale = Math.fround(scaling);
    expect(q).toEqual(delta(1).map((value) => Math.fround(scale * value)));
  });

  test("for an embedding, and for a module that has its weight as [in, out], is turned", async () => {
    const { store, folder } = await home();
    const base = { "wte.weight": { shape: [3, 4] }, "fc.weight": { shape: [2, 3] } };
    await store.add([await writeWeights(join(folder, "base.safetensors"), base)]);
    const pairs = {
      "base_model.model.wte.lora_embedding_A": { shape: [1, 3], values: [1, 2, 3] },
      "base_model.model.wte.lora_embedding_B": { shape: [4, 1], values: [1, 10, 100, 1000] },
      "base_model.model.fc.lora_A.weight": { shape: [1, 2], values: [1, 2] },
      "base_model.model.fc.lora_B.weight": { shape: [3, 1], values: [1, 10, 100] },
    };
    const config = { r: 1, lora_alpha: 1, fan_in_fan_out: true };
    const lora = await addPeft({ store, folder }, pairs, config);
    await merge(store, "base", [{ model: lora }], { as: "merged" });
    const { path } = await store.export("merged", join(folder, "out.safetensors"));
    const weights = parseSafetensors(new Uint8Array(await readFile(path)), path);
    const values = Object.entries(weights).map(([name, { bytes }]) => {
      return [name, [...new Float32Array(bytes.slice().buffer)]] as const;
    });
    expect(Object.fromEntries(values)).toEqual({
      "wte.weight": [1, 10, 100, 1000, 2, 20, 200, 2000, 3, 30, 300, 3000],
      "fc.weight": [1, 10, 100, 2, 20, 200],
    });
  });

  test.each<[string, Record<string, unknown>, unknown]>([
    ["DoRA", { use_dora: true }, { message: expect.stringContaining("use_dora") }],
    ["biases", { bias: "all" }, { message: expect.stringContaining("bias") }],
    [
      "whole modules",
      { modules_to_save: ["lm_head"] },
      { message: expect.stringContaining("modules_to_save") },
    ],
    ["another method", { peft_type: "LOHA" }, { message: expect.stringContaining("peft_type") }],
    [
      "a base that it changed",
      { init_lora_weights: "pissa_niter_4" },
      { message: expect.stringContaining("init_lora_weights") },
    ],
    [
      "a start that nobody knows",
      { init_lora_weights: "milora" },
      { message: expect.stringContaining('init_lora_weights: "milora"') },
    ],
    ["a setting that nobody knows", { use_more: true }, { message: expect.stringContaining("use_more") }],
    ["KaSA", { kasa_config: { beta: 1 } }, { message: expect.stringContaining("kasa_config") }],
    ["flags that are none", { fan_in_fan_out: "yes" }, { code: "malformed" }],
    ["patterns of no numbers", { alpha_pattern: { q: "4" } }, { code: "malformed" }],
    [
      "an expression that looks ahead",
      { rank_pattern: { "attn(?=_q).*": 2 } },
      { message: expect.stringContaining("regular expression") },
    ],
    ["no rank", { r: 0 }, { code: "malformed" }],
    ["no alpha", { lora_alpha: "4" }, { code: "malformed" }],
    [
      "another rank than its weights",
      { r: 4 },
      { code: "mismatch", message: expect.stringContaining("rank 4") },
    ],
  ])("with %s is refused by name", async (_, config, error) => {
    const model = await addPeft(shared, names(".weight"), config);
    const merging = merge(shared.store, "base", [{ model }], { as: "refused" });
    await expect(merging).rejects.toMatchObject({ code: "unsupported", ...(error as object) });
  });

  test("without its config is refused with a hint", async () => {
    const { store, folder } = shared;
    const path = await writePeftLora(join(folder, "bare"), names(".weight"));
    await store.add([join(path, "adapter_model.safetensors")], { as: "bare" });
    await expect(merge(store, "base", [{ model: "bare" }], { as: "refused" })).rejects.toMatchObject({
      code: "not-found",
      hint: expect.stringContaining("folder"),
    });
  });
});

describe("a model with LoRA weights beside its own", () => {
  test("is a model, and no adapter", async () => {
    const { store, folder } = await home();
    const pair = { "base_model.model.fc.lora_A.weight": A, "base_model.model.fc.lora_B.weight": B };
    const whole = { ...pair, "fc.base_layer.weight": { shape: [4, 8] } };
    const bytes = await writePeftLora(join(folder, "whole"), whole);
    await store.add([join(bytes, "adapter_model.safetensors")], { as: "whole" });
    await store.add([await writePeftLora(join(folder, "more"), whole)]);
    await store.add([await writePeftLora(join(folder, "lora"), pair)]);
    const kinds = (await store.list()).map(({ name, lora }) => [name, lora?.refusal]);
    expect(kinds).toEqual([
      ["lora", undefined],
      ["more", expect.stringContaining('"fc.base_layer.weight" is not part of a LoRA pair')],
      ["whole", undefined],
    ]);
    expect((await store.list()).map(({ lora }) => lora !== undefined)).toEqual([true, true, false]);
  });
});

describe("names", () => {
  const pairs = { "layers.0.q.lora_a": A, "layers.0.q.lora_b": B };

  async function withLora(map?: Record<string, string>): Promise<unknown> {
    const model = await addGguf(shared, pairs);
    return merge(shared.store, "base", [{ model }], { as: `mapped-${serial++}`, map });
  }

  test("that differ are mapped", async () => {
    expect(await withLora({ "layers.0.q": "blk.0.attn_q.weight" })).toMatchObject({ weights: 1 });
    await expect(withLora()).rejects.toMatchObject({ hint: expect.stringContaining("--map") });
  });

  test.each<[string, Record<string, string>, string]>([
    ["in a circle", { "layers.0.q": "layers.0.k", "layers.0.k": "layers.0.q" }, "mismatch"],
    ["twice to one", { "layers.0.q": "blk.0.attn_q", "layers.0.k": "blk.0.attn_q.weight" }, "duplicate"],
    ["from what the LoRA does not have", { "layers.9.q": "blk.0.attn_q" }, "not-found"],
    ["to what the base does not have", { "layers.0.q": "blk.9.attn_q" }, "missing-weight"],
    ["to nothing", { "layers.0.q": "" }, "malformed"],
  ])("mapped %s are refused", async (_, map, code) => {
    await expect(withLora(map)).rejects.toMatchObject({ code });
  });

  test("of a base that wraps them are found, if it is clear which", async () => {
    const { store, folder } = await home();
    const wrapped = {
      "model.layers.0.q.weight": { shape: [4, 8] },
      "model.layers.0.k.weight": { shape: [4, 8] },
    };
    await store.add([await writeGguf(join(folder, "base.gguf"), wrapped)]);
    const twice = { ...wrapped, "draft.layers.0.q.weight": { shape: [4, 8] } };
    await store.add([await writeGguf(join(folder, "twice.gguf"), twice)]);
    await store.add([await writeGgufLora(join(folder, "lora.gguf"), pairs)]);
    expect(await merge(store, "base", [{ model: "lora" }], { as: "merged" })).toMatchObject({ weights: 1 });
    await expect(merge(store, "twice", [{ model: "lora" }], { as: "other" })).rejects.toMatchObject({
      code: "missing-weight",
    });
  });
});

describe("a merge", () => {
  test.each<[string, string, { model: string; scale?: number }[], string, object]>([
    ["of a model with itself", "base", [{ model: "base" }], "x", { code: "usage" }],
    ["of a LoRA twice", "base", [{ model: "lora" }, { model: "lora" }], "x", { code: "duplicate" }],
    ["of nothing", "base", [], "x", { code: "usage" }],
    [
      "into a LoRA",
      "lora",
      [{ model: "other" }],
      "x",
      { code: "mismatch", message: expect.stringContaining("it is a LoRA") },
    ],
    ["of a model that is no LoRA", "base", [{ model: "other" }], "x", { code: "mismatch" }],
    ["into its own base", "base", [{ model: "lora" }], "base", { code: "usage" }],
    ["into its own LoRA", "base", [{ model: "lora" }], "lora", { code: "usage" }],
    ["by NaN", "base", [{ model: "lora", scale: Number.NaN }], "x", { code: "usage" }],
    ["by infinity", "base", [{ model: "lora", scale: Number.POSITIVE_INFINITY }], "x", { code: "usage" }],
    ["under a name that is taken", "base", [{ model: "lora" }], "other", { code: "name-taken" }],
    ["under a bad name", "base", [{ model: "lora" }], "../x", { code: "bad-name" }],
    ["of a model that is not there", "base", [{ model: "nobody" }], "x", { code: "not-found" }],
  ])("%s is refused", async (_, base, loras, as, error) => {
    const { store, folder } = shared;
    await store.add([await writeGgufLora(join(folder, "lora.gguf"), PAIR)]);
    await expect(merge(store, base, loras, { as })).rejects.toMatchObject(error);
    expect((await store.status()).unusedBytes).toBe(0);
  });

  test("moves only the weight that is meant where two have the same bytes", async () => {
    const { store, folder } = await home();
    const twins = { "blk.0.attn_q.weight": { shape: [4, 8] }, "blk.0.attn_k.weight": { shape: [4, 8] } };
    await store.add([await writeGguf(join(folder, "base.gguf"), twins)]);
    const lora = await addGguf({ store, folder }, PAIR);
    expect(await merged({ store, folder }, lora)).toEqual({
      "blk.0.attn_q.weight": delta(1),
      "blk.0.attn_k.weight": Array.from({ length: 32 }, () => 0),
    });
  });

  test("refuses a base whose type it cannot write, with a hint", async () => {
    const { store, folder } = await home();
    await store.add([
      await writeGguf(join(folder, "base.gguf"), {
        "blk.0.attn_q.weight": { shape: [4, 8], dtype: "float64" },
      }),
    ]);
    await store.add([await writeGgufLora(join(folder, "lora.gguf"), PAIR)]);
    await expect(merge(store, "base", [{ model: "lora" }], { as: "x" })).rejects.toMatchObject({
      code: "unsupported",
      tensor: "blk.0.attn_q.weight",
      hint: expect.stringContaining("--adapter"),
    });
  });

  test("reads a mapping of the command line only if it is one", () => {
    expect(parseNameMapping({ a: "b" }, "map.json")).toEqual({ a: "b" });
    expect(() => parseNameMapping({ a: 1 }, "map.json")).toThrow(
      expect.objectContaining({ code: "malformed" }),
    );
    expect(() => parseNameMapping([], "map.json")).toThrow(expect.objectContaining({ code: "malformed" }));
    expect(() => parseNameMapping({ a: "b", c: "b" }, "m")).toThrow(
      expect.objectContaining({ code: "duplicate" }),
    );
  });
});
