import { mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { Writable } from "node:stream";
import { fileURLToPath } from "node:url";
import { describe, expect, onTestFinished, test } from "vitest";
import { run } from "../../src/cli/run.ts";
import { openStore, type TareStore } from "../../src/host/tare-store.ts";
import { charlmGguf } from "../../fixtures/charlm/rebuild-gguf.mjs";
import { temporaryFolder } from "../support/temporary.ts";

const MODELS = ["base", "kjv", "licence"] as const;
const EXPECTED = JSON.parse(
  await readFile(fileURLToPath(new URL("../../fixtures/charlm/expected.json", import.meta.url)), "utf8"),
) as Record<(typeof MODELS)[number], { prompt: string; greedy_ids: number[]; greedy_text: string }>;

async function familyStore(models: readonly (typeof MODELS)[number][] = MODELS): Promise<TareStore> {
  const store = await openStore({ path: join(await temporaryFolder(), "store") });
  onTestFinished(() => store[Symbol.asyncDispose]());
  for (const model of models) await store.add([await charlmGguf(model)], { as: model });
  return store;
}

describe("TareStore.loadText()", () => {
  test("runs several models at once over one copy, each with its own text", async () => {
    const store = await familyStore();
    const sessions = await Promise.all(MODELS.map((model) => store.loadText(model, { contextSize: 128 })));
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
    for (const model of ["base", "kjv"]) await (await store.loadText(model)).release();
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
    await expect(store.loadText("m")).rejects.toMatchObject({
      code: "unsupported",
      hint: expect.any(String),
    });
  });
});

describe("tare run with a GGUF model", () => {
  test("streams the answer, and prints figures as JSON", async () => {
    const store = await familyStore(["kjv"]);
    const tare = async (...argv: readonly string[]): Promise<string> => {
      let out = "";
      const stdout = new Writable({
        write(chunk, _encoding, done) {
          out += String(chunk);
          done();
        },
      });
      const code = await run(argv, { stdout, stderr: process.stderr, env: { TARE_STORE: store.path } });
      expect(code).toBe(0);
      return out;
    };
    const { greedy_text: text } = EXPECTED.kjv;
    expect(await tare("run", "kjv", "And he said", "--max-tokens", "40", "--context", "128")).toBe(
      `${text}\n`,
    );
    const json = JSON.parse(await tare("run", "kjv", "And", "he", "said", "--max-tokens", "5", "--json"));
    expect(json).toMatchObject({ text: text.slice(0, 5), stopReason: "length" });
  });
});
