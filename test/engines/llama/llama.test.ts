import { execFile } from "node:child_process";
import { cp, mkdir, readFile, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { type Llama, openLlama } from "../../../src/engines/llama/engine.ts";
import type { LinkedAdapter } from "../../../src/link/linked-program.ts";
import type { LlamaSession } from "../../../src/engines/llama/session.ts";
import {
  type CharlmModel,
  charlmGguf,
  charlmMetadata,
  charlmTensors,
  encodeGguf,
  type GgufMetadata,
  type GgufValue,
} from "../../../fixtures/charlm/rebuild-gguf.mjs";
import { noisyLora } from "../../support/noisy-lora.ts";
import { LONG } from "../../support/speed.ts";
import { temporaryFolder } from "../../support/temporary.ts";

const MODELS = ["base", "kjv", "licence"] as const;
const DIST = fileURLToPath(new URL("../../../dist", import.meta.url));
const PROMPT = "And he said";

interface Expected {
  readonly prompt: string;
  readonly input_ids: number[];
  readonly greedy_ids: number[];
  readonly greedy_text: string;
}

let llama: Llama;
let expected: Record<CharlmModel, Expected>;

beforeAll(async () => {
  llama = openLlama({ threads: 2 });
  const file = new URL("../../../fixtures/charlm/expected.json", import.meta.url);
  expected = JSON.parse(await readFile(file, "utf8")) as typeof expected;
});
afterAll(() => llama[Symbol.asyncDispose]());

async function load(
  model: CharlmModel,
  options: Parameters<Llama["load"]>[1] & { readonly adapters?: readonly LinkedAdapter[] } = {},
): Promise<LlamaSession> {
  const { adapters = [], ...rest } = options;
  const session = await llama.load({ ...gguf(await charlmGguf(model), model), adapters }, rest);
  onTestFinished(() => session.release());
  return session;
}

/** A GGUF file as a program. */
function gguf(path: string, name = basename(path)): { readonly name: string; readonly path: string } {
  return { name, path };
}

/** An engine whose process may die. */
function anotherEngine(): Llama {
  const engine = openLlama({ threads: 2 });
  onTestFinished(() => engine[Symbol.asyncDispose]());
  return engine;
}

/** A file of the test's own. */
async function file(name: string, bytes: Uint8Array): Promise<string> {
  const path = join(await temporaryFolder(), name);
  await writeFile(path, bytes);
  return path;
}

/** Writes base as two shards; the second has the tensors from the `half`th on. */
async function shards(half: number, splitNo: "u16" | "u32"): Promise<string> {
  const folder = await temporaryFolder();
  const tensors = [...(await charlmTensors("base"))];
  const cut = tensors.length >> 1;
  const split = (index: number): [string, GgufValue] => ["split.no", [splitNo, index]];
  const first: GgufMetadata = [
    ...(await charlmMetadata("base")),
    split(0),
    ["split.count", ["u16", 2]],
    ["split.tensors.count", ["i32", tensors.length]],
  ];
  const path = join(folder, "base-00001-of-00002.gguf");
  await writeFile(path, encodeGguf(first, tensors.slice(0, cut)));
  const second = encodeGguf([split(1)], tensors.slice(cut - half));
  await writeFile(join(folder, "base-00002-of-00002.gguf"), second);
  return path;
}

describe("openLlama()", () => {
  test("says what it is", () => {
    expect(llama.version).toMatch(/^3\./);
    expect(llama.capabilities).toMatchObject({ formats: ["gguf"], sharesWeights: true, abortsRunning: true });
  });

  test("says how to install what is missing", async () => {
    const folder = await temporaryFolder();
    await mkdir(join(folder, "engines"));
    await cp(join(DIST, "errors.js"), join(folder, "errors.js"));
    await cp(join(DIST, "engines", "llama"), join(folder, "engines", "llama"), { recursive: true });
    await writeFile(join(folder, "package.json"), '{"type":"module"}');
    const script = `
      import { openLlama } from "./engines/llama/engine.js";
      try { openLlama(); } catch ({ code, hint }) { console.log(code + ": " + hint); }`;
    await writeFile(join(folder, "try.js"), script);
    const { stdout } = await promisify(execFile)(process.execPath, [join(folder, "try.js")]);
    expect(stdout.trim()).toBe("no-engine: Install it: npm install node-llama-cpp");
  });

  test("lets the host end while models are loaded, and its process goes with the host", LONG, async () => {
    const script = `
      import { openLlama } from ${JSON.stringify(pathToFileURL(join(DIST, "engines/llama/engine.js")).href)};
      const llama = openLlama({ threads: 1 });
      const session = await llama.load(${JSON.stringify(gguf(await charlmGguf("base")))});
      const { text } = await session.generate("And", { maxTokens: 5 });
      console.log(JSON.stringify({ pid: llama.pid, text }));`;
    const path = await file("host.mjs", Buffer.from(script));
    const { stdout } = await promisify(execFile)(process.execPath, [path], { timeout: 20_000 });
    const { pid, text } = JSON.parse(stdout) as { pid: number; text: string };
    expect(text).toHaveLength(5);
    await expect.poll(() => isRunning(pid), { timeout: 10_000 }).toBe(false);
  });
});

describe("Llama.load()", () => {
  test("says what the model is", async () => {
    const { info } = await load("kjv");
    expect(info).toEqual({
      contextSize: 128,
      trainContext: 128,
      parameters: 2_067_648,
      sizeBytes: 4_139_520,
      chatTemplate: false,
      description: expect.stringContaining("llama") as string,
    });
  });

  test("opens shards, and gives the text of the whole file", async () => {
    const session = await llama.load(gguf(await shards(0, "u16")));
    const { text } = await session.generate(PROMPT, { maxTokens: 40 });
    await session.release();
    expect(text).toBe(expected.base.greedy_text);
  });

  test("lays LoRA adapters over the model, as strongly as asked", async () => {
    const path = await file("lora.gguf", noisyLora());
    const text = async (scale: number): Promise<string> => {
      const session = await load("base", { adapters: [{ path, scale }] });
      return (await session.generate(PROMPT, { maxTokens: 40 })).text;
    };
    expect(await text(0)).toBe(expected.base.greedy_text);
    expect(await text(1)).not.toBe(expected.base.greedy_text);
  });

  test("gives the native reason for a failure", async () => {
    const whole = await readFile(await charlmGguf("base"));
    const cut = await file("cut.gguf", whole.subarray(0, 2_000_000));
    await expect(llama.load(gguf(cut))).rejects.toMatchObject({
      name: "EngineError",
      code: "engine",
      path: cut,
      message: expect.stringMatching(
        /^Cannot load "cut\.gguf": tensor '.*' data is not within the file/,
      ) as string,
    });
    const odd: GgufMetadata = [["general.architecture", ["string", "perceptron"]]];
    await expect(llama.load(gguf(await file("odd.gguf", encodeGguf(odd, []))))).rejects.toThrow(/perceptron/);
    await expect(llama.load(gguf(await file("text.gguf", Buffer.from("not a model"))))).rejects.toThrow(
      /magic/,
    );
    await expect(llama.load(gguf("/nowhere.gguf"))).rejects.toThrow(/ENOENT/);
    await expect(load("base", { adapters: [{ path: cut, scale: 1 }] })).rejects.toMatchObject({
      code: "engine",
    });
  });

  test("stops when it is aborted", async () => {
    const path = await charlmGguf("base");
    await expect(llama.load(gguf(path), { signal: AbortSignal.abort() })).rejects.toThrow(/abort/i);
    const abort = new AbortController();
    const loading = llama.load(gguf(path), { signal: abort.signal });
    abort.abort();
    await expect(loading).rejects.toThrow(/abort/i);
    await expect(load("base")).resolves.toBeDefined();
  });
});

describe("LlamaSession.generate()", () => {
  test.each(MODELS)("continues a text greedily as PyTorch does: %s", async (model) => {
    const { prompt, greedy_ids, greedy_text, input_ids } = expected[model];
    const session = await load(model);
    const generation = await session.generate(prompt, { maxTokens: 40 });
    expect(generation).toEqual({
      text: greedy_text,
      tokens: greedy_ids,
      promptTokens: input_ids.length,
      stopReason: "length",
      tokensPerSecond: expect.any(Number) as number,
    });
    expect(generation.tokensPerSecond).toBeGreaterThan(0);
  });

  test("hands out the text as it comes", async () => {
    const session = await load("kjv");
    const pieces: string[] = [];
    const { text } = await session.generate(PROMPT, { maxTokens: 40, onText: (piece) => pieces.push(piece) });
    expect(pieces.join("")).toBe(text);
    expect(pieces.length).toBeGreaterThan(10);
  });

  test("runs several models, and several generations of one, at once", async () => {
    const sessions = await Promise.all(MODELS.map((model) => load(model, { threads: 2, sequences: 2 })));
    const runs = sessions.flatMap((session) =>
      [1, 2, 3].map(() => session.generate(PROMPT, { maxTokens: 40 })),
    );
    const texts = (await Promise.all(runs)).map(({ text }) => text);
    expect(texts).toEqual(MODELS.flatMap((model) => Array<string>(3).fill(expected[model].greedy_text)));
  });

  test("stops in the middle when it is aborted, and the next one runs", async () => {
    const session = await load("base");
    const abort = new AbortController();
    let pieces = 0;
    const running = session.generate(PROMPT, {
      signal: abort.signal,
      onText: () => ++pieces === 3 && abort.abort(new Error("enough")),
    });
    const next = session.generate(PROMPT, { maxTokens: 40 });
    await expect(running).rejects.toThrow("enough");
    expect(pieces).toBeLessThan(60);
    expect((await next).text).toBe(expected.base.greedy_text);
  });

  test("leaves the queue when it is aborted there", async () => {
    const session = await load("base");
    const abort = new AbortController();
    const first = session.generate(PROMPT, { maxTokens: 40 });
    const second = session.generate(PROMPT, { maxTokens: 40, signal: abort.signal });
    abort.abort();
    await expect(second).rejects.toThrow(/abort/i);
    expect((await first).text).toBe(expected.base.greedy_text);
  });

  test("ends with what onText throws", async () => {
    const session = await load("base");
    const onText = (): void => {
      throw new Error("the reader is gone");
    };
    await expect(session.generate(PROMPT, { onText })).rejects.toThrow("the reader is gone");
    expect((await session.generate(PROMPT, { maxTokens: 40 })).text).toBe(expected.base.greedy_text);
  });

  test("gives the same text for the same seed, whatever ran before", async () => {
    const session = await load("base");
    const sample = async (seed?: number): Promise<string> =>
      (await session.generate(PROMPT, { maxTokens: 60, temperature: 1, topK: 0, topP: 1, seed })).text;
    const first = await sample(7);
    await sample();
    const again = await sample(7);
    expect(again).toBe(first);
    expect(new Set([first, await sample(8), await sample(9), await sample()]).size).toBeGreaterThan(2);
  });

  test("ends before a stop text, which may come in pieces", async () => {
    const session = await load("base");
    const stopped = async (...stop: string[]): Promise<unknown> => {
      const pieces: string[] = [];
      const onText = (piece: string): void => void pieces.push(piece);
      const { text, stopReason } = await session.generate(PROMPT, { maxTokens: 40, stop, onText });
      expect(pieces.join("")).toBe(text);
      return [text, stopReason];
    };
    expect(await stopped("xyz", "make the")).toEqual([" the state of the state\nTo ", "stop"]);
    expect(await stopped(" ")).toEqual(["", "stop"]);
    expect(await stopped("seals")).toEqual([expected.base.greedy_text, "length"]);
  });

  test("follows a JSON schema", async () => {
    const session = await load("base");
    const jsonSchema = {
      type: "object",
      properties: { kind: { enum: ["psalm", "play"] }, lines: { type: "integer" } },
    };
    const { text, stopReason } = await session.generate(PROMPT, { jsonSchema });
    expect(stopReason).toBe("end");
    expect(JSON.parse(text)).toEqual({
      kind: expect.stringMatching(/^(psalm|play)$/) as string,
      lines: expect.any(Number) as number,
    });
  });

  test("goes on to the end of the context, and refuses a prompt that does not fit", async () => {
    const session = await load("kjv");
    const { tokens, promptTokens, stopReason } = await session.generate(PROMPT);
    expect(stopReason).toBe("context");
    expect(tokens.length + promptTokens).toBe(128);
    const { tokens: last } = await session.generate("a".repeat(125));
    expect(last).toHaveLength(2);
    await expect(session.generate("a".repeat(126))).rejects.toMatchObject({
      code: "too-large",
      message: 'Cannot run "kjv": the prompt has 127 tokens and the context 128',
    });
  });

  test("keeps the space between the prompt and the first word, also where a tokenizer adds one in front", async () => {
    const metadata = (await charlmMetadata("base")).map(([key, value]): [string, GgufValue] =>
      key === "tokenizer.ggml.add_space_prefix" ? [key, ["bool", true]] : [key, value],
    );
    const path = await file("space.gguf", encodeGguf(metadata, [...(await charlmTensors("base"))]));
    const session = await llama.load(gguf(path));
    const { text, promptTokens } = await session.generate(PROMPT, { maxTokens: 10 });
    await session.release();
    expect(promptTokens).toBe(expected.base.input_ids.length + 1);
    expect(text).toBe(" the state");
  });

  test("turns messages into text by the file's own chat template", async () => {
    const template =
      "{% for message in messages %}{{ message['role'] }}: {{ message['content'] }}\n{% endfor %}" +
      "{% if add_generation_prompt %}assistant: {% endif %}";
    const metadata: GgufMetadata = [
      ...(await charlmMetadata("base")),
      ["tokenizer.chat_template", ["string", template]],
    ];
    const path = await file("chat.gguf", encodeGguf(metadata, [...(await charlmTensors("base"))]));
    const session = await llama.load(gguf(path));
    onTestFinished(() => session.release());
    expect(session.info.chatTemplate).toBe(true);
    const pieces: string[] = [];
    const chat = await session.generate(
      [
        { role: "system", content: "Speak" },
        { role: "user", content: PROMPT },
      ],
      { maxTokens: 30, stop: ["stand"], onText: (piece) => pieces.push(piece) },
    );
    expect(chat.promptTokens).toBe("system: Speak\nuser: And he said\nassistant: ".length);
    expect(pieces.join("")).toBe(chat.text);
    const whole = await session.generate("system: Speak\nuser: And he said\nassistant: ", { maxTokens: 30 });
    expect(whole.text.startsWith(chat.text)).toBe(true);
    expect(chat.text).not.toBe("");
    await expect(session.generate([])).rejects.toMatchObject({ code: "bad-input" });
  });

  test("refuses messages where the file has no chat template", async () => {
    const session = await load("base");
    await expect(session.generate([{ role: "user", content: "Speak" }])).rejects.toMatchObject({
      code: "bad-input",
      message: 'Cannot run "base": its file has no chat template',
    });
  });

  test("refuses what the engine would abort at, and options out of range", async () => {
    const session = await load("base");
    await expect(session.generate("caf\u00e9")).rejects.toThrow('its vocabulary has no token for "\u00e9"');
    for (const options of [
      { maxTokens: 0 },
      { maxTokens: 1.5 },
      { temperature: -1 },
      { topP: 2 },
      { minP: Number.NaN },
      { topK: -1 },
      { seed: 2 ** 32 },
      { stop: [""] },
      { jsonSchema: "object" as unknown as object },
    ]) {
      await expect(session.generate(PROMPT, options), JSON.stringify(options)).rejects.toMatchObject({
        code: "bad-input",
      });
    }
  });
});

describe("LlamaSession", () => {
  test("embeds texts", async () => {
    const session = await load("base", { embedding: true });
    const [one, same, other] = await Promise.all(
      ["And he said", "And he said", "Enter a king"].map((text) => session.embed(text)),
    );
    expect(one).toBeInstanceOf(Float32Array);
    expect(one).toHaveLength(192);
    expect(one?.every(Number.isFinite)).toBe(true);
    expect(same).toEqual(one);
    expect(other).not.toEqual(one);
    await expect(session.embed("a".repeat(128))).rejects.toMatchObject({ code: "too-large" });
    await expect(session.embed("")).rejects.toMatchObject({ code: "bad-input" });
    await expect(session.generate(PROMPT)).rejects.toMatchObject({ code: "bad-input" });
    await expect((await load("kjv")).embed(PROMPT)).rejects.toMatchObject({ code: "bad-input" });
  });

  test("tokenizes as the model reads", async () => {
    const session = await load("base");
    expect([1, ...(await session.tokenize(PROMPT))]).toEqual(expected.base.input_ids);
    await expect(session.tokenize("\u00e9")).rejects.toMatchObject({ code: "bad-input" });
  });

  test("ends runs before it is released, twice without harm, and is refused afterwards", async () => {
    const session = await load("base");
    const running = session.generate(PROMPT, { maxTokens: 40 });
    const releasing = session.release();
    await expect(session.generate(PROMPT)).rejects.toMatchObject({ name: "EngineError", code: "released" });
    await Promise.all([releasing, session.release()]);
    expect((await running).text).toBe(expected.base.greedy_text);
    await expect(session.embed(PROMPT)).rejects.toMatchObject({ code: "released" });
    await expect(session.tokenize(PROMPT)).rejects.toMatchObject({ code: "released" });
  });
});

describe("a crash of the engine", LONG, () => {
  test("rejects what is under way, and the next load starts anew", async () => {
    const engine = anotherEngine();
    const path = await charlmGguf("kjv");
    const session = await engine.load(gguf(path, "kjv"));
    const killed = engine.pid as number;
    const running = session.generate(PROMPT, { onText: () => process.kill(killed, "SIGKILL") });
    await expect(running).rejects.toMatchObject({
      name: "EngineError",
      code: "engine",
      message: 'Cannot run "kjv": llama.cpp crashed (SIGKILL while running "kjv")',
    });
    await expect(session.generate(PROMPT)).rejects.toMatchObject({ code: "engine" });
    await session.release();
    await using again = await engine.load(gguf(path, "kjv"));
    expect(engine.pid).not.toBe(killed);
    expect((await again.generate(PROMPT, { maxTokens: 40 })).text).toBe(expected.kjv.greedy_text);
  });

  test("comes from a shard whose number has another type, and does not take the host down", async () => {
    const engine = anotherEngine();
    await using bystander = await engine.load(gguf(await charlmGguf("base"), "bystander"));
    const path = await shards(0, "u32");
    await expect(engine.load(gguf(path, "odd"))).rejects.toMatchObject({
      code: "engine",
      path,
      message: expect.stringMatching(
        /^Cannot load "odd": llama\.cpp crashed \(SIGABRT while loading "odd": .*GGML_ASSERT/,
      ) as string,
    });
    await expect(bystander.generate(PROMPT)).rejects.toMatchObject({ code: "engine" });
    await using next = await engine.load(gguf(await charlmGguf("base")));
    expect((await next.generate(PROMPT, { maxTokens: 40 })).text).toBe(expected.base.greedy_text);
  });

  test("or an error comes from a tensor in two shards, and the host goes on", async () => {
    const engine = anotherEngine();
    await expect(engine.load(gguf(await shards(1, "u16")))).rejects.toMatchObject({ code: "engine" });
    await using next = await engine.load(gguf(await charlmGguf("base")));
    expect((await next.generate(PROMPT, { maxTokens: 40 })).text).toBe(expected.base.greedy_text);
  });

  test("is not what a terminal's signals bring about, which reach the whole group", async () => {
    const session = await load("base");
    for (const signal of ["SIGINT", "SIGHUP", "SIGTERM"]) process.kill(llama.pid as number, signal);
    expect((await session.generate(PROMPT, { maxTokens: 40 })).text).toBe(expected.base.greedy_text);
  });

  test("is not what closing the engine is", async () => {
    const engine = anotherEngine();
    const session = await engine.load(gguf(await charlmGguf("base")));
    const running = session.generate(PROMPT);
    await engine[Symbol.asyncDispose]();
    await expect(running).rejects.toMatchObject({ code: "released" });
    await session.release();
    await expect(session.generate(PROMPT)).rejects.toMatchObject({ code: "released" });
    await expect(engine.load(gguf(await charlmGguf("base")))).rejects.toMatchObject({ code: "released" });
  });
});

/** Whether a process runs: one that has ended, and that nobody has asked for how, does not. */
async function isRunning(pid: number): Promise<boolean> {
  try {
    process.kill(pid, 0);
  } catch {
    return false;
  }
  const stat = await readFile(`/proc/${pid}/stat`, "utf8").catch(() => "");
  return !stat.includes(") Z ");
}
