import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { Writable } from "node:stream";
import { describe, expect, onTestFinished, test } from "vitest";
import { type DefineCommand, examples } from "../../src/cli/command.ts";
import { COMMANDS } from "../../src/cli/commands/index.ts";
import { run } from "../../src/cli/run.ts";
import { writeSafetensors } from "../../src/formats/safetensors/write.ts";
import { temporaryFolder } from "../support/temporary.ts";

/** A whole verb: its words, its help, and what it does with a store. */
const count: DefineCommand = (program, act) => {
  program
    .command("count")
    .summary("count the models of the store")
    .description("Count the models of the store, or those whose names start with a prefix.")
    .argument("[prefix]")
    .addHelpText("after", examples("tare count", "tare count kjv --json"))
    .action(
      act(async (context, prefix = "") => {
        const store = await context.openStore();
        const models = (await store.list()).filter(({ name }) => name.startsWith(prefix)).length;
        context.print({ models }, () => `${models} models`);
        return models > 0 ? 0 : 1;
      }),
    );
};

class Sink extends Writable {
  text = "";
  override _write(chunk: Buffer, _encoding: string, done: () => void): void {
    this.text += String(chunk);
    done();
  }
}

async function tare(env: Record<string, string>, ...argv: readonly string[]) {
  const stdout = new Sink();
  const stderr = new Sink();
  const code = await run(argv, { stdout, stderr, env });
  return { code, out: stdout.text, err: stderr.text };
}

describe("a verb of one's own", () => {
  test("is one function and one line: it has help, --json, --store and exit codes like any other", async () => {
    const verbs = COMMANDS as Record<string, () => Promise<DefineCommand>>;
    verbs.count = async () => count;
    onTestFinished(() => void delete verbs.count);
    const folder = await temporaryFolder();
    const file = join(folder, "weights.safetensors");
    await writeFile(
      file,
      writeSafetensors({ w: { dtype: "uint8", shape: [2], bytes: Uint8Array.of(1, 2) } }),
    );
    const env = { TARE_STORE: join(folder, "store") };
    await tare(env, "add", file, "--as", "first");
    await tare(env, "add", file, "--as", "second");

    expect(await tare(env, "count")).toEqual({ code: 0, out: "2 models\n", err: "" });
    expect(JSON.parse((await tare(env, "count", "f", "--json")).out)).toEqual({ models: 1 });
    expect((await tare(env, "count", "third")).code).toBe(1);
    expect((await tare(env, "count", "--help")).out).toContain("Examples:\n  $ tare count\n");
    expect(await tare(env, "count", "--nothing")).toMatchObject({ code: 2 });
    const foreign = join(folder, "photos");
    await mkdir(join(foreign, "2024"), { recursive: true });
    expect(await tare(env, "count", "--store", foreign)).toMatchObject({
      code: 1,
      err: expect.stringContaining('it contains "2024"'),
    });
  });
});
