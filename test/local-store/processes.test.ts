import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { beforeAll, describe, expect, test } from "vitest";
import { openStore } from "../../src/tare-store.ts";
import { CHARLM_MODELS, charlm } from "../support/charlm.ts";
import { LONG } from "../support/speed.ts";
import { temporaryFolder } from "../support/temporary.ts";

const MAIN = fileURLToPath(new URL("../../dist/cli/main.js", import.meta.url));

let family: string;
beforeAll(async () => {
  family = await charlm();
});

function tare(store: string, ...args: readonly string[]): ChildProcess {
  return spawn(process.execPath, [MAIN, "--store", store, ...args], { stdio: "ignore" });
}

describe("a store under several processes", LONG, () => {
  test("is whole after an add was killed at any instant, and the next add sweeps", async () => {
    const path = join(await temporaryFolder(), "store");
    await openStore({ path });
    // Each round lets the writer come a bit further before it is killed: by blobs stored, not by time.
    for (const blobs of [0, 1, 5, 20, 35, 39, 40]) {
      const child = tare(path, "add", join(family, "base"), "--as", `try-${blobs}`);
      const ended = once(child, "exit");
      while (child.exitCode === null && (await readdir(join(path, "blobs", "sha256"))).length < blobs) {
        await new Promise((resolve) => setImmediate(resolve));
      }
      child.kill("SIGKILL");
      await ended;
      const store = await openStore({ path });
      expect((await store.verify({ full: true })).problems).toEqual([]);
      await store.gc();
      if ((await store.list()).length > 0)
        await store.remove((await store.list()).map((model) => model.name));
      await store.gc();
      expect(await readdir(join(path, "blobs", "sha256"))).toEqual([]);
      expect(await readdir(join(path, "tmp"))).toEqual([]);
    }
    const store = await openStore({ path });
    await store.add([join(family, "base")]);
    expect((await store.verify({ full: true })).problems).toEqual([]);
  });

  test("keeps every model while others add, remove and collect", async () => {
    const path = join(await temporaryFolder(), "store");
    const script = join(await temporaryFolder(), "churn.mjs");
    const index = fileURLToPath(new URL("../../dist/index.js", import.meta.url));
    await writeFile(
      script,
      `import { openStore } from ${JSON.stringify(index)};
       const [, , path, family, who] = process.argv;
       const store = await openStore({ path });
       for (let round = 0; round < 6; round++) {
         for (const model of ${JSON.stringify(CHARLM_MODELS)}) await store.add([family + "/" + model], { as: model + "-" + who, threads: 1 });
         await store.remove(["base-" + who, "kjv-" + who]);
         await store.gc();
       }`,
    );
    const children = ["a", "b", "c"].map((who) =>
      spawn(process.execPath, [script, path, family, who], { stdio: ["ignore", "ignore", "inherit"] }),
    );
    const codes = await Promise.all(children.map(async (child) => (await once(child, "exit"))[0] as number));
    expect(codes).toEqual([0, 0, 0]);
    const store = await openStore({ path });
    expect((await store.list()).map((model) => model.name)).toEqual(["licence-a", "licence-b", "licence-c"]);
    expect((await store.verify({ full: true })).problems).toEqual([]);
    await store.gc();
    expect((await store.status()).unusedBytes).toBe(0);
    expect(await readdir(join(path, "tmp"))).toEqual([]);
  });
});
