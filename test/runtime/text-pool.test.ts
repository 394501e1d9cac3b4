import { chmod, readdir, readFile, stat, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { type Llama, openLlama } from "../../src/engines/llama/engine.ts";
import { encodeGgufHeader } from "../../src/formats/gguf/write.ts";
import { openStore, type TareStore } from "../../src/tare-store.ts";
import { loadText } from "../../src/runtime/load-text.ts";
import { TextPool, type TextPoolOptions } from "../../src/runtime/text-pool.ts";
import { type CharlmModel, charlmGguf } from "../../fixtures/charlm/rebuild-gguf.mjs";
import { sharedLlama } from "../support/llama.ts";
import { noisyLora } from "../support/noisy-lora.ts";
import { prepareStore } from "../support/prepared-store.ts";
import { LONG } from "../support/speed.ts";
import { temporaryFolder } from "../support/temporary.ts";
import { LocalStore } from "../../src/local-store/local-store.ts";
import { runtimeOf } from "../support/runtime.ts";
import { describeModel } from "../../src/operations/describe.ts";

const EXPECTED = JSON.parse(
  await readFile(fileURLToPath(new URL("../../fixtures/charlm/expected.json", import.meta.url)), "utf8"),
) as Record<CharlmModel, { prompt: string; greedy_text: string }>;
const PROMPT = "And he said";
const OPTIONS = { contextSize: 128, threads: 1 } as const;

async function storeOf(...models: readonly CharlmModel[]): Promise<TareStore> {
  const path = join(await temporaryFolder(), "store");
  await prepareStore(path, "gguf", models);
  const store = await openStore({ path });
  return store;
}

/** A pool over an engine whose process can be looked into; the file's unless given. */
async function poolOver(
  store: TareStore,
  options: TextPoolOptions = {},
  engine: Llama = sharedLlama(),
): Promise<{ readonly texts: TextPool; readonly engine: Llama }> {
  const files = await LocalStore.open(store.path);
  return { texts: new TextPool(files, async () => engine, { ...OPTIONS, ...options }), engine };
}

/** A pool over the file's engine. */
async function openTexts(store: TareStore, options: TextPoolOptions = {}): Promise<TextPool> {
  return (await poolOver(store, options)).texts;
}

async function textOf(texts: TextPool, model: CharlmModel): Promise<string> {
  const { session } = await texts.swap(model);
  return (await session.generate(PROMPT, { maxTokens: 40 })).text;
}

/** Adds a model that the store takes and llama.cpp does not. */
async function addOdd(store: TareStore): Promise<void> {
  const { bytes, size } = encodeGgufHeader({
    metadata: [{ key: "general.architecture", type: "string", value: "odd" }],
    tensors: [{ name: "x", type: 0, shape: [64, 64] }],
  });
  const path = join(await temporaryFolder(), "odd.gguf");
  await writeFile(path, Buffer.concat([bytes, Buffer.alloc(size - bytes.byteLength)]));
  await store.add([path]);
}

async function addLora(store: TareStore): Promise<void> {
  const path = join(await temporaryFolder(), "lora.gguf");
  await writeFile(path, noisyLora());
  await store.add([path]);
}

describe("Runtime.openTexts()", () => {
  test("lets models take turns, each with its own text, and lets go of the one before", async () => {
    const store = await storeOf("base", "kjv", "licence");
    await using texts = runtimeOf(store).openTexts(OPTIONS);
    for (const model of ["base", "kjv", "base", "licence"] as const) {
      expect(await textOf(texts, model)).toBe(EXPECTED[model].greedy_text);
      expect(texts.loaded.map((each) => each.model)).toEqual([model]);
    }
    const { session: base, fresh } = await texts.swap("base");
    expect(fresh).toBe(true);
    await texts.swap("kjv");
    await expect.poll(() => base.live).toBe(false);
    await expect(base.generate(PROMPT)).rejects.toMatchObject({ code: "released" });
  });

  test("refuses a number of models that is none", async () => {
    const store = await storeOf();
    expect(() => runtimeOf(store).openTexts({ keep: 0 })).toThrow(RangeError);
  });
});

describe("TextPool.swap()", () => {
  test("keeps those used last, and going back to one loads nothing", async () => {
    const store = await storeOf("base", "kjv", "licence");
    await using texts = await openTexts(store, { keep: 2 });
    const base = await texts.swap("base");
    const kjv = await texts.swap("kjv");
    const again = await texts.swap("base");
    expect([base.fresh, kjv.fresh, again.fresh]).toEqual([true, true, false]);
    expect(again.session).toBe(base.session);
    await texts.swap("licence");
    expect(texts.loaded).toMatchObject([
      { model: "licence", current: true },
      { model: "base", current: false },
    ]);
    expect(base.session.live).toBe(true);
    await expect.poll(() => kjv.session.live).toBe(false);
  });

  test("maps what models share once, and says what each has for itself", async () => {
    const store = await storeOf("base", "kjv", "licence");
    const { texts, engine } = await poolOver(store, { keep: 3, measure: true });
    for (const model of ["base", "kjv", "licence"]) await texts.swap(model);
    const loaded = texts.loaded;
    const summaries = new Map((await store.list()).map((each) => [each.name, each]));
    for (const each of loaded) {
      expect(each.ownBytes).toBe(summaries.get(each.model)?.ownBytes);
      expect(each.loadMs).toBeGreaterThan(0);
    }
    if (process.platform === "linux") {
      const maps = await readFile(`/proc/${engine.pid}/maps`, "utf8");
      const mapped = maps.matchAll(/^.* (\d+) +\S+-0000([2-9])-of-\d+\.gguf$/gm);
      const foundations = [...mapped].filter(([, , position]) => position === "2");
      expect(foundations).toHaveLength(3);
      expect(new Set(foundations.map(([, inode]) => inode)).size).toBe(1);
      expect(loaded.every((each) => Number.isInteger(each.addedBytes))).toBe(true);
    }
    await texts[Symbol.asyncDispose]();
    expect(texts.loaded).toEqual([]);
  });

  test("takes a model with an adapter for a task of its own", async () => {
    const store = await storeOf("base");
    await addLora(store);
    await using texts = await openTexts(store, { keep: 3 });
    const prompt = EXPECTED.base.prompt;
    const generate = async (scale?: number): Promise<string> => {
      const adapters = scale === undefined ? [] : [{ model: "lora", scale }];
      const { session } = await texts.swap("base", { adapters });
      return (await session.generate(prompt, { maxTokens: 40 })).text;
    };
    const plain = await generate();
    expect(plain).toBe(EXPECTED.base.greedy_text);
    expect(await generate(0)).toBe(plain);
    const moved = await generate(1);
    expect(moved).not.toBe(plain);
    const loaded = texts.loaded;
    expect(loaded.map((each) => each.adapters.map(({ scale }) => scale))).toEqual([[1], [0], []]);
    // Two pairs of 2 × 192 float32 each; the model itself is shared by all.
    expect(loaded.map((each) => each.ownBytes)).toEqual([6144, 6144, 0]);
    expect(loaded.map((each) => each.newBytes)).toEqual([
      6144,
      6144,
      (await describeModel(store, "base")).weightBytes,
    ]);
    expect((await texts.swap("base")).fresh).toBe(false);
    expect(await generate(1)).toBe(moved);
  });

  test("lets a generation under way finish on the model before", async () => {
    const store = await storeOf("base", "kjv");
    await using texts = await openTexts(store);
    const { session } = await texts.swap("base");
    let begun = (): void => undefined;
    const started = new Promise<void>((resolve) => (begun = resolve));
    const running = session.generate(PROMPT, { maxTokens: 40, onText: () => begun() });
    await started;
    expect(await textOf(texts, "kjv")).toBe(EXPECTED.kjv.greedy_text);
    expect((await running).text).toBe(EXPECTED.base.greedy_text);
    await expect(session.generate(PROMPT)).rejects.toMatchObject({ code: "released" });
  });

  test("does swaps that are asked for at once one after the other", async () => {
    const store = await storeOf("base", "kjv", "licence");
    await using texts = await openTexts(store, { keep: 2 });
    const models = ["base", "kjv", "base", "licence", "kjv"] as const;
    const turns = await Promise.all(models.map((model) => texts.swap(model)));
    expect(turns.map(({ model, fresh }) => [model, fresh])).toEqual([
      ["base", true],
      ["kjv", true],
      ["base", false],
      ["licence", true],
      ["kjv", true],
    ]);
    expect(texts.loaded.map((each) => each.model)).toEqual(["kjv", "licence"]);
    expect(await textOf(texts, "kjv")).toBe(EXPECTED.kjv.greedy_text);
  });

  test("leaves everything as it was when the next model cannot be loaded", async () => {
    const store = await storeOf("base", "kjv");
    await addOdd(store);
    await using texts = await openTexts(store);
    const { session } = await texts.swap("base");
    await expect(texts.swap("odd")).rejects.toMatchObject({ code: "engine" });
    await expect(texts.swap("nobody")).rejects.toMatchObject({
      code: "not-found",
      hint: "Use a name of the store: base, kjv, odd",
    });
    const aborted = AbortSignal.abort(new Error("enough"));
    await expect(texts.swap("kjv", { signal: aborted })).rejects.toThrow("enough");
    expect(texts.loaded).toMatchObject([{ model: "base", current: true }]);
    expect(await texts.swap("base")).toMatchObject({ fresh: false, session });
    expect(await textOf(texts, "kjv")).toBe(EXPECTED.kjv.greedy_text);
  });

  test("does not wait for its turn once it is aborted", async () => {
    const store = await storeOf("base", "kjv");
    await using texts = await openTexts(store);
    const first = texts.swap("base");
    const controller = new AbortController();
    const second = texts.swap("kjv", { signal: controller.signal });
    controller.abort(new Error("enough"));
    await expect(second).rejects.toThrow("enough");
    expect(await first).toMatchObject({ model: "base", fresh: true });
    expect(texts.loaded).toMatchObject([{ model: "base" }]);
  });

  test("looks at what a name stands for now", async () => {
    const store = await storeOf("base", "kjv");
    await using texts = await openTexts(store, { keep: 2 });
    await texts.swap("kjv");
    const { session } = await texts.swap("base");
    await store.remove(["kjv"]);
    await store.gc();
    await expect(texts.swap("kjv")).rejects.toMatchObject({ code: "not-found" });
    expect((await session.generate(PROMPT, { maxTokens: 40 })).text).toBe(EXPECTED.base.greedy_text);
    await store.add([await charlmGguf("licence")], { as: "base", replace: true });
    const turn = await texts.swap("base");
    expect(turn.fresh).toBe(true);
    expect((await turn.session.generate(PROMPT, { maxTokens: 40 })).text).toBe(EXPECTED.licence.greedy_text);
    await expect.poll(() => session.live).toBe(false);
  });

  test("loads a model anew that was laid out anew for a later one, so that they share", async () => {
    const store = await storeOf("base");
    const { texts, engine } = await poolOver(store, { keep: 2 });
    await texts.swap("base");
    await store.add([await charlmGguf("kjv")], { as: "kjv" });
    await texts.swap("kjv");
    expect((await texts.swap("base")).fresh).toBe(true);
    expect((await texts.swap("kjv")).fresh).toBe(false);
    expect(await textOf(texts, "base")).toBe(EXPECTED.base.greedy_text);
    if (process.platform === "linux") {
      const foundations = async (): Promise<string[]> => {
        const maps = await readFile(`/proc/${engine.pid}/maps`, "utf8");
        return [...maps.matchAll(/^.* (\d+) +\S+-00002-of-\d+\.gguf(?: \(deleted\))?$/gm)].map(
          ([, inode]) => inode as string,
        );
      };
      await expect.poll(foundations).toHaveLength(2);
      expect(new Set(await foundations()).size).toBe(1);
    }
    await texts[Symbol.asyncDispose]();
  });

  test("loads anew what the engine's process took with it", LONG, async () => {
    const store = await storeOf("base", "kjv");
    await using engine = openLlama({ threads: 2 });
    const { texts } = await poolOver(store, { keep: 2 }, engine);
    const base = await texts.swap("base");
    await texts.swap("kjv");
    process.kill(engine.pid as number, "SIGKILL");
    await expect.poll(() => base.session.live).toBe(false);
    expect(texts.loaded).toEqual([]);
    expect(await texts.swap("base")).toMatchObject({ fresh: true });
    expect(await textOf(texts, "base")).toBe(EXPECTED.base.greedy_text);
    expect(texts.loaded.map((each) => each.model)).toEqual(["base"]);
    await texts[Symbol.asyncDispose]();
  });
});

describe("TextPool[Symbol.asyncDispose]()", () => {
  test("releases its models and refuses swaps, those that wait too", async () => {
    const store = await storeOf("base", "kjv");
    const texts = runtimeOf(store).openTexts({ ...OPTIONS, keep: 2 });
    const { session } = await texts.swap("base");
    const waiting = Promise.allSettled([texts.swap("kjv"), texts.swap("base")]);
    await texts[Symbol.asyncDispose]();
    expect(await waiting).toMatchObject([
      { status: "rejected", reason: { code: "released" } },
      { status: "rejected", reason: { code: "released" } },
    ]);
    expect(session.live).toBe(false);
    await expect(texts.swap("base")).rejects.toMatchObject({
      code: "released",
      message: "Cannot swap models: the pool was closed",
    });
    // The engine is the store's, and goes on.
    await using other = await runtimeOf(store).loadText("kjv", OPTIONS);
    expect((await other.generate(PROMPT, { maxTokens: 40 })).text).toBe(EXPECTED.kjv.greedy_text);
  });
});

describe("views that the store keeps", () => {
  async function viewsOf(store: TareStore): Promise<string[]> {
    const folder = join(store.path, "views");
    return (await readdir(folder)).map((name) => join(folder, name));
  }
  const inodes = async (folder: string): Promise<number[]> =>
    Promise.all((await readdir(folder)).sort().map(async (name) => (await stat(join(folder, name))).ino));
  const load = async (store: TareStore, model: string): Promise<string> => {
    const files = await LocalStore.open(store.path);
    await using session = (await loadText(files, sharedLlama(), model, OPTIONS)).session;
    return (await session.generate(PROMPT, { maxTokens: 40 })).text;
  };

  test("are opened as they are while nothing changes", async () => {
    const store = await storeOf("base", "kjv");
    await load(store, "kjv");
    const [view] = (await viewsOf(store)) as [string];
    const before = await inodes(view);
    expect(await load(store, "kjv")).toBe(EXPECTED.kjv.greedy_text);
    expect(await viewsOf(store)).toEqual([view]);
    expect(await inodes(view)).toEqual(before);
  });

  test("are made again where something was written in them, or is missing", async () => {
    const store = await storeOf("base");
    await load(store, "base");
    const [view] = (await viewsOf(store)) as [string];
    const [first] = (await readdir(view)).sort() as [string];
    const bytes = await readFile(join(view, first));
    await chmod(join(view, first), 0o644);
    await writeFile(join(view, first), bytes.subarray(0, 100));
    expect(await load(store, "base")).toBe(EXPECTED.base.greedy_text);
    expect((await readFile(join(view, first))).equals(bytes)).toBe(true);
    await writeFile(join(view, "stray.gguf"), "");
    expect(await load(store, "base")).toBe(EXPECTED.base.greedy_text);
    expect(await readdir(view)).not.toContain("stray.gguf");
  });

  test("follow a blob that took a damaged one's place", async () => {
    const store = await storeOf("base", "kjv");
    await load(store, "kjv");
    const [view] = (await viewsOf(store)) as [string];
    const shard = (await readdir(view)).sort()[1] as string;
    await chmod(join(view, shard), 0o644);
    const damaged = await readFile(join(view, shard));
    damaged.fill(7, damaged.byteLength >> 1);
    await writeFile(join(view, shard), damaged);
    await expect(runtimeOf(store).loadText("kjv", OPTIONS)).rejects.toMatchObject({ code: "corrupted" });
    for (const model of ["base", "kjv"] as const) await store.add([await charlmGguf(model)], { as: model });
    expect(await load(store, "kjv")).toBe(EXPECTED.kjv.greedy_text);
    expect((await store.verify({ full: true })).problems).toEqual([]);
  });

  test("are the same for a model that has two names", async () => {
    const store = await storeOf("kjv");
    await store.add([await charlmGguf("kjv")], { as: "twin" });
    for (const name of ["kjv", "twin", "kjv"]) expect(await load(store, name)).toBe(EXPECTED.kjv.greedy_text);
  });

  test("are laid out anew for a model that was added, and back when it goes, and share all the time", async () => {
    const store = await storeOf("base", "kjv");
    const shared = async (): Promise<void> => {
      await load(store, "base");
      await load(store, "kjv");
      await store.gc();
      const [one, two] = await Promise.all((await viewsOf(store)).map(inodes));
      expect(one?.filter((inode) => two?.includes(inode)).length).toBeGreaterThan(0);
      expect((await store.status()).unusedBytes).toBe(0);
    };
    await shared();
    await store.add([await charlmGguf("licence")], { as: "licence" });
    expect(await load(store, "licence")).toBe(EXPECTED.licence.greedy_text);
    await store.remove(["licence"]);
    await shared();
    expect((await store.verify({ full: true })).problems).toEqual([]);
  });

  test("are hashed when asked for, whatever their seal says", async () => {
    const store = await storeOf("base");
    await load(store, "base");
    const [view] = (await viewsOf(store)) as [string];
    const shard = join(view, (await readdir(view)).sort()[1] as string);
    const { atime, mtime } = await stat(shard);
    const bytes = await readFile(shard);
    await chmod(shard, 0o644);
    bytes[bytes.byteLength - 5000] = (bytes[bytes.byteLength - 5000] as number) ^ 1;
    await writeFile(shard, bytes);
    await utimes(shard, atime, mtime);
    await expect(runtimeOf(store).loadText("base", { ...OPTIONS, verify: true })).rejects.toMatchObject({
      code: "corrupted",
    });
  });
});
