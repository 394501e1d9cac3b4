import { cp, mkdir, readdir, readFile, realpath, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import * as ort from "onnxruntime-node";
import { describe, expect, test } from "vitest";
import { charlmGguf } from "../../../fixtures/charlm/rebuild-gguf.mjs";
import { joinSplit } from "../../../src/operations/split/join.ts";
import { openStore, type TareStore } from "../../../src/tare-store.ts";
import { parseSplitRule } from "../../../src/operations/split/split-rules.ts";
import { CHARLM_GRAPHS, CHARLM_MODELS, charlm } from "../../support/charlm.ts";
import { parseSafetensors } from "../../../src/formats/safetensors/parse.ts";
import { writeSafetensors } from "../../../src/formats/safetensors/write.ts";
import { sharedLlama } from "../../support/llama.ts";
import { prepareStore } from "../../support/prepared-store.ts";
import { temporaryFolder } from "../../support/temporary.ts";
import { split } from "../../../src/operations/split/split.ts";
import { diff } from "../../../src/operations/diff/diff.ts";

interface Expected {
  readonly prompt: string;
  readonly input_ids: number[];
  readonly greedy_ids: number[];
  readonly greedy_text: string;
}
const EXPECTED = JSON.parse(
  await readFile(fileURLToPath(new URL("../../../fixtures/charlm/expected.json", import.meta.url)), "utf8"),
) as Record<(typeof CHARLM_MODELS)[number], Expected>;

async function ggufStore(models: readonly (typeof CHARLM_MODELS)[number][] = CHARLM_MODELS): Promise<{
  store: TareStore;
  folder: string;
}> {
  const folder = await temporaryFolder();
  await prepareStore(join(folder, "store"), "gguf", models);
  const store = await openStore({ path: join(folder, "store") });
  return { store, folder };
}

async function onnxStore(): Promise<{ store: TareStore; folder: string; files: string }> {
  const folder = await temporaryFolder();
  const files = await charlm();
  const store = await openStore({ path: join(folder, "store") });
  for (const model of CHARLM_MODELS) {
    await cp(join(files, model), join(folder, model), { recursive: true });
    await writeFile(join(folder, model, "tokenizer.json"), "{}");
    await store.add([join(folder, model)]);
  }
  return { store, folder, files };
}

async function sameFile(a: string, b: string): Promise<boolean> {
  return (await readFile(a)).equals(await readFile(b));
}

describe("split()", () => {
  test("writes GGUF shards that stock llama.cpp loads, each model with its own text", async () => {
    const { store, folder } = await ggufStore();
    const out = join(folder, "dist");
    const { files, splitBytes, fileBytes } = await split(store, CHARLM_MODELS, out);
    expect(files.filter((file) => file.kind !== "original").map((file) => file.path)).toEqual([
      "foundation.gguf",
      "adapter-base.gguf",
      "adapter-kjv.gguf",
      "adapter-licence.gguf",
    ]);
    expect(splitBytes).toBeLessThan(0.6 * fileBytes);
    // What a device gets: the folder without what tare alone reads.
    const device = join(await realpath(folder), "device");
    await cp(out, device, {
      recursive: true,
      verbatimSymlinks: true,
      filter: (path) => !/split\.json$|originals/.test(path),
    });
    const llama = sharedLlama();
    for (const model of CHARLM_MODELS) {
      const { prompt, greedy_ids: ids, greedy_text: text } = EXPECTED[model];
      await using session = await llama.load(
        { name: model, path: join(device, model, `${model}-00001-of-00002.gguf`) },
        { contextSize: 128 },
      );
      expect(await session.generate(prompt, { maxTokens: ids.length })).toMatchObject({ text, tokens: ids });
    }
  });

  test("writes ONNX programs over foundation and adapter that stock ONNX Runtime runs", async () => {
    const { store, folder, files } = await onnxStore();
    const out = join(folder, "dist");
    const { splitBytes, fileBytes } = await split(store, CHARLM_MODELS, out);
    expect((await readdir(out)).sort()).toEqual(
      [
        "foundation.bin",
        "originals",
        "split.json",
        ...CHARLM_MODELS.flatMap((model) => [
          model,
          `adapter-${model}.bin`,
          ...CHARLM_GRAPHS.map((graph) => `${model}-${graph}.onnx`),
        ]),
      ].sort(),
    );
    expect(splitBytes).toBeLessThan(0.3 * fileBytes);
    for (const model of CHARLM_MODELS) {
      const ids = EXPECTED[model].input_ids;
      const feeds = {
        input_ids: new ort.Tensor("int64", BigInt64Array.from(ids.map(BigInt)), [1, ids.length]),
      };
      const [ours, theirs] = await Promise.all(
        [join(out, `${model}-decoder.onnx`), join(files, model, "decoder.onnx")].map(async (path) => {
          const session = await ort.InferenceSession.create(path);
          const { logits } = await session.run(feeds, ["logits"]);
          return logits?.data;
        }),
      );
      expect(ours).toEqual(theirs);
      expect(await readFile(join(out, model, "tokenizer.json"), "utf8")).toBe("{}");
    }
  });

  test("writes safetensors as sharded models, which read as what they were", async () => {
    const folder = await temporaryFolder();
    const store = await openStore({ path: join(folder, "store") });
    const base = fileURLToPath(new URL("../../../fixtures/charlm/base.safetensors", import.meta.url));
    const tensors = parseSafetensors(await readFile(base), "base");
    const task = {
      ...tensors,
      "output_norm.weight": { dtype: "float32", shape: [2], bytes: new Uint8Array(8) },
    } as const;
    await mkdir(join(folder, "task"));
    await writeFile(join(folder, "task", "task.safetensors"), writeSafetensors(task));
    await writeFile(join(folder, "task", "config.json"), "{}");
    await store.add([base], { as: "base" });
    await store.add([join(folder, "task")], { as: "task" });
    const { files } = await split(store, ["base", "task"], join(folder, "dist"));
    expect(files.map((file) => [file.path, file.weights]).slice(0, 3)).toEqual([
      ["foundation.safetensors", Object.keys(tensors).length - 1],
      ["adapter-base.safetensors", 1],
      ["adapter-task.safetensors", 1],
    ]);
    expect(await readFile(join(folder, "dist", "task", "config.json"), "utf8")).toBe("{}");
    await joinSplit(join(folder, "dist"), "task", join(folder, "joined"));
    expect(
      await sameFile(join(folder, "joined", "task.safetensors"), join(folder, "task", "task.safetensors")),
    ).toBe(true);
    // The folder as a model of its own has the very same weights.
    await store.add([join(folder, "dist", "task")], { as: "again" });
    const { same, changed, onlyInA, onlyInB } = await diff(store, "task", "again");
    expect([same.count, changed.length, onlyInA.count, onlyInB.count]).toEqual([
      Object.keys(task).length,
      0,
      0,
      0,
    ]);
  });

  test("is undone by joinSplit(), byte for byte, without a store", async () => {
    const gguf = await ggufStore();
    await split(gguf.store, CHARLM_MODELS, join(gguf.folder, "dist"));
    for (const model of CHARLM_MODELS) {
      const out = join(gguf.folder, `${model}.gguf`);
      await joinSplit(join(gguf.folder, "dist"), model, out);
      expect(await sameFile(out, await charlmGguf(model))).toBe(true);
    }
    const onnx = await onnxStore();
    await split(onnx.store, CHARLM_MODELS, join(onnx.folder, "dist"));
    const joined = await joinSplit(join(onnx.folder, "dist"), "kjv", join(onnx.folder, "joined"));
    expect(joined.files).toHaveLength(CHARLM_GRAPHS.length + 1);
    for (const graph of CHARLM_GRAPHS) {
      const name = `${graph}.onnx`;
      expect(await sameFile(join(joined.path, name), join(onnx.files, "kjv", name))).toBe(true);
    }
  });

  test("follows rules, the first that selects a weight first", async () => {
    const { store, folder } = await ggufStore(["base", "kjv"]);
    const rules = [parseSplitRule("foundation", "*norm*@1"), parseSplitRule("adapter", "@1-2")];
    const out = join(folder, "dist");
    const { files } = await split(store, ["base", "kjv"], out, { rules });
    // Of blocks 0 to 3 two moved, but for the norms of one: 9 weights each, 2 of them norms.
    const [before] = (await split(store, ["base", "kjv"], undefined)).files;
    expect(files[0]?.weights).toBe((before?.weights ?? 0) - 9 - 7);
    const llama = sharedLlama();
    await using session = await llama.load(
      { name: "kjv", path: join(out, "kjv", "kjv-00001-of-00002.gguf") },
      { contextSize: 128 },
    );
    const { prompt, greedy_ids: ids, greedy_text: text } = EXPECTED.kjv;
    expect(await session.generate(prompt, { maxTokens: ids.length })).toMatchObject({ text });
  });

  test("ships one adapter when one task changes, and keeps the foundation byte for byte", async () => {
    const { store, folder } = await ggufStore(["base", "kjv"]);
    const first = await split(store, ["base", "kjv"], join(folder, "first"));
    // The next kjv: one weight of its own is another one.
    const bytes = Buffer.from(await readFile(await charlmGguf("kjv")));
    bytes.writeUInt8(bytes.readUInt8(bytes.byteLength - 64) ^ 1, bytes.byteLength - 64);
    await writeFile(join(folder, "next.gguf"), bytes);
    await store.remove(["kjv"]);
    await store.add([join(folder, "next.gguf")], { as: "kjv" });
    const planned = await split(store, ["base", "kjv"], undefined, { since: join(folder, "first") });
    const adapter = first.files.find((file) => file.path === "adapter-kjv.gguf");
    expect(planned).toMatchObject({ path: undefined, shipBytes: adapter?.size });
    expect(planned.files.filter((file) => file.ships && file.kind !== "original")).toMatchObject([
      { path: "adapter-kjv.gguf" },
    ]);
    await split(store, ["base", "kjv"], join(folder, "second"), { since: join(folder, "first") });
    for (const name of ["foundation.gguf", "adapter-base.gguf"]) {
      expect(await sameFile(join(folder, "first", name), join(folder, "second", name))).toBe(true);
    }
    expect(
      await sameFile(join(folder, "first", "adapter-kjv.gguf"), join(folder, "second", "adapter-kjv.gguf")),
    ).toBe(false);
    // A third task that shares more with base than kjv does: the foundation stays what devices have.
    await store.add([await charlmGguf("base")], { as: "twin" });
    const third = await split(store, ["base", "twin"], undefined, { since: join(folder, "second") });
    expect(third.files.filter((file) => file.ships && file.kind !== "original")).toMatchObject([
      { path: "adapter-twin.gguf" },
    ]);
  });

  test("refuses rules that select nothing or ask for what differs, and models that share nothing", async () => {
    const { store, folder } = await ggufStore();
    const attempt = (
      models: readonly string[],
      rules: readonly ReturnType<typeof parseSplitRule>[],
    ): Promise<unknown> => split(store, models, join(folder, "dist"), { rules });
    await expect(attempt(["base", "kjv"], [parseSplitRule("adapter", "*lm_head*")])).rejects.toMatchObject({
      code: "not-found",
      message: expect.stringContaining("--adapter *lm_head*"),
    });
    await expect(
      attempt(["base", "kjv"], [parseSplitRule("foundation", "output.weight")]),
    ).rejects.toMatchObject({
      code: "mismatch",
      tensor: "output.weight",
    });
    await expect(attempt(["base"], [parseSplitRule("adapter", "*")])).rejects.toMatchObject({
      code: "missing-weight",
    });
    await expect(attempt([], [])).rejects.toMatchObject({ code: "usage" });
    await expect(attempt(["base", "nobody"], [])).rejects.toMatchObject({ code: "not-found" });
    await store.add([join(await charlm(), "base")], { as: "base-onnx" });
    await expect(attempt(["base", "base-onnx"], [])).rejects.toMatchObject({ code: "mismatch" });
    expect(await readdir(folder)).toEqual(["store"]);
  });

  test("leaves what is there alone, and nothing behind when it is stopped", async () => {
    const { store, folder } = await ggufStore(["base", "kjv"]);
    const out = join(folder, "dist");
    await mkdir(out);
    await writeFile(join(out, "mine"), "");
    await expect(split(store, ["base", "kjv"], out)).rejects.toMatchObject({ code: "exists" });
    await expect(
      split(store, ["base", "kjv"], join(folder, "other"), { signal: AbortSignal.abort() }),
    ).rejects.toThrow();
    expect((await readdir(folder)).sort()).toEqual(["dist", "store"]);
  });
});

describe("joinSplit()", () => {
  test("refuses damaged, swapped and missing files, and records that are none", async () => {
    const { store, folder } = await ggufStore(["base", "kjv"]);
    const out = join(folder, "dist");
    await split(store, ["base", "kjv"], out);
    const join1 = (): Promise<unknown> => joinSplit(out, "kjv", join(folder, "kjv.gguf"));
    await expect(joinSplit(out, undefined, join(folder, "x"))).rejects.toMatchObject({
      code: "not-found",
      hint: "Give one of base, kjv",
    });
    // The adapter of another model under this one's name.
    const adapter = await readFile(join(out, "adapter-kjv.gguf"));
    await cp(join(out, "adapter-base.gguf"), join(out, "adapter-kjv.gguf"));
    await expect(join1()).rejects.toMatchObject({ code: "corrupted" });
    await writeFile(join(out, "adapter-kjv.gguf"), adapter.subarray(0, 1000));
    await expect(join1()).rejects.toMatchObject({ code: "out-of-range" });
    await writeFile(join(out, "adapter-kjv.gguf"), adapter);
    await join1();
    expect((await stat(join(folder, "kjv.gguf"))).size).toBe((await stat(await charlmGguf("kjv"))).size);

    const record = await readFile(join(out, "split.json"), "utf8");
    for (const [text, code] of [
      ["{", "malformed"],
      ["{}", "malformed"],
      [record.replace('"version":1', '"version":2'), "newer-version"],
      [record.replace('"foundation.gguf"', '"../store/index.json"'), "malformed"],
    ] as const) {
      expect(text).not.toBe(record);
      await writeFile(join(out, "split.json"), text);
      await expect(joinSplit(out, "kjv", join(folder, "again.gguf"))).rejects.toMatchObject({ code });
    }
    await expect(joinSplit(folder, "kjv", join(folder, "x"))).rejects.toMatchObject({ code: "not-found" });
  });
});
