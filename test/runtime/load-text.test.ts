import { mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { Writable } from "node:stream";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { run } from "../../src/cli/run.ts";
import { openStore, type TareStore } from "../../src/tare-store.ts";
import { noisyLora } from "../support/noisy-lora.ts";
import { prepareStore } from "../support/prepared-store.ts";
import { LONG } from "../support/speed.ts";
import { temporaryFolder } from "../support/temporary.ts";
import { runtimeOf } from "../support/runtime.ts";

const MODELS = ["base", "kjv", "licence"] as const;
const EXPECTED = JSON.parse(
  await readFile(fileURLToPath(new URL("../../fixtures/charlm/expected.json", import.meta.url)), "utf8"),
) as Record<(typeof MODELS)[number], { prompt: string; greedy_ids: number[]; greedy_text: string }>;

async function familyStore(models: readonly (typeof MODELS)[number][] = MODELS): Promise<TareStore> {
  const path = join(await temporaryFolder(), "store");
  await prepareStore(path, "gguf", models);
  const store = await openStore({ path });
  return store;
}

describe("Runtime.loadText()", () => {
  test("runs several models at once over one copy, each with its own text", async () => {
    const store = await familyStore();
    const sessions = await Promise.all(
      MODELS.map((model) => runtimeOf(store).loadText(model, { contextSize: 128 })),
    );
    for (const [index, model] of MODELS.entries()) {
      const { prompt, greedy_ids: ids, greedy_text: text } = EXPECTED[model];
      const result = await sessions[index]?.generate(prompt, { maxTokens: ids.length });
      expect(result).toMatchObject({ text, tokens: ids });
    }
    await Promise.all(sessions.map((session) => session.release()));
    expect((await store.verify({ full: true })).problems).toEqual([]);
  });

  test("keeps a view for each model, and gc drops those that nobody has", async () => {
    const store = await familyStore(["base", "kjv"]);
    for (const model of ["base", "kjv"]) await (await runtimeOf(store).loadText(model)).release();
    const views = join(store.path, "views");
    await store.gc();
    expect(await readdir(views)).toHaveLength(2);
    await store.remove(["kjv"]);
    await store.gc();
    expect(await readdir(views)).toHaveLength(1);
  });

  test("refuses models of other formats, with a hint", async () => {
    const store = await familyStore([]);
    const folder = await temporaryFolder();
    await mkdir(join(folder, "m"));
    const fixture = fileURLToPath(new URL("../../fixtures/onnx/raw.onnx", import.meta.url));
    await writeFile(join(folder, "m", "m.onnx"), await readFile(fixture));
    await store.add([join(folder, "m")]);
    await expect(runtimeOf(store).loadText("m")).rejects.toMatchObject({
      code: "unsupported",
      hint: expect.any(String),
    });
  });
});

async function tare(
  store: TareStore,
  ...argv: readonly string[]
): Promise<{ readonly code: number; readonly out: string; readonly err: string }> {
  const written = { out: "", err: "" };
  const into = (key: keyof typeof written): Writable =>
    new Writable({
      write(chunk, _encoding, done) {
        written[key] += String(chunk);
        done();
      },
    });
  const code = await run(argv, { stdout: into("out"), stderr: into("err"), env: { TARE_STORE: store.path } });
  return { code, ...written };
}

describe("tare run with a GGUF model", () => {
  test("streams the answer, and prints figures as JSON", async () => {
    const store = await familyStore(["kjv"]);
    const { greedy_text: text } = EXPECTED.kjv;
    expect(await tare(store, "run", "kjv", "And he said", "--max-tokens", "40", "--context", "128")).toEqual({
      code: 0,
      out: `${text}\n`,
      err: "",
    });
    const { out } = await tare(store, "run", "kjv", "And", "he", "said", "--max-tokens", "5", "--json");
    expect(JSON.parse(out)).toMatchObject({ text: text.slice(0, 5), stopReason: "length" });
  });
});

describe("tare swap", () => {
  const FLAGS = ["--prompt", "And he said", "--max-tokens", "40", "--context", "128"];

  test("lets each model answer, and shows what its turn took", async () => {
    const store = await familyStore(["base", "kjv"]);
    const { code, out, err } = await tare(store, "swap", "base", "kjv", "base", "--keep", "2", ...FLAGS);
    expect({ code, err }).toEqual({ code: 0, err: "" });
    const answers = (["base", "kjv", "base"] as const).map(
      (model) => `${model}: And he said${EXPECTED[model].greedy_text}\n`,
    );
    expect(out.startsWith(answers.join(""))).toBe(true);
    expect(out.slice(answers.join("").length)).toMatch(
      /^\nMODEL +SWAP .*\nbase +\d+ ms .* 4.14 MB .*\nkjv +\d+ ms .* 851 kB .*\nbase .*, was loaded /,
    );
  });

  test("takes a model with a LoRA, and prints all as JSON", LONG, async () => {
    const store = await familyStore(["base"]);
    const path = join(await temporaryFolder(), "lora.gguf");
    await writeFile(path, noisyLora());
    await store.add([path]);
    const { out } = await tare(store, "swap", "base", "base+lora:0", "base+lora", ...FLAGS, "--json");
    const { turns } = JSON.parse(out) as { turns: { text: string }[] };
    expect(turns).toMatchObject([
      { model: "base", adapters: [], fresh: true, text: EXPECTED.base.greedy_text },
      { label: "base+lora:0", adapters: [{ model: "lora", scale: 0 }], text: EXPECTED.base.greedy_text },
      { label: "base+lora", adapters: [{ model: "lora", scale: 1 }], newBytes: 6144 },
    ]);
    expect(turns[2]?.text).not.toBe(EXPECTED.base.greedy_text);
  });

  test.each([
    [["swap", "base"], "Cannot swap models without a prompt"],
    [["swap", "base", ...FLAGS, "--keep", "0"], "Cannot use --keep 0: it must be a positive integer"],
  ])("tells %j what is wrong", async (argv, message) => {
    const store = await familyStore([]);
    const { code, err } = await tare(store, ...argv);
    expect(code).toBe(2);
    expect(err).toContain(message);
  });
});
