import { constants } from "node:fs";
import { cp, mkdir, mkdtemp, rename, rm, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { inject } from "vitest";
import { type CharlmModel, charlmGguf } from "../../fixtures/charlm/rebuild-gguf.mjs";
import { openStore } from "../../src/tare-store.ts";
import { CHARLM_GRAPHS, charlm } from "./charlm.ts";
import { endRuntime, runtimeOf } from "./runtime.ts";

type PreparedFormat = "onnx" | "onnx-compiled" | "gguf";

/** Stores that the tests copy, a folder for each state of the sources. */
const FOLDER = fileURLToPath(new URL("../../build/fixtures/stores", import.meta.url));

/**
 * Makes a store at a path to which models of the charlm family were added, in this order and under their own names. It
 * is a copy of a store that the sources as they are made once: for tests that are not about adding.
 * @param format with `onnx-compiled` the engine's cache has the programs too: for tests that are not about compiling
 */
export async function prepareStore(
  path: string,
  format: PreparedFormat,
  models: readonly CharlmModel[],
): Promise<void> {
  const prepared = join(FOLDER, inject("sources"), [format, ...models].join("-"));
  if (!(await exists(prepared))) await prepare(prepared, format, models);
  // Blobs are sealed by their times.
  const options = { recursive: true, preserveTimestamps: true, mode: constants.COPYFILE_FICLONE };
  await cp(prepared, path, options);
}

async function prepare(
  prepared: string,
  format: PreparedFormat,
  models: readonly CharlmModel[],
): Promise<void> {
  await mkdir(dirname(prepared), { recursive: true });
  const folder = await mkdtemp(`${prepared}.`);
  try {
    const store = await openStore({ path: join(folder, "store") });
    for (const model of models) {
      const file = format === "gguf" ? await charlmGguf(model) : join(await charlm(), model);
      await store.add([file], { as: model, threads: 1 });
      if (format !== "onnx-compiled") continue;
      for (const method of CHARLM_GRAPHS)
        await (await runtimeOf(store).load(model, { method, threads: 1 })).release();
    }
    await endRuntime(store);
    await rename(join(folder, "store"), prepared).catch(async (error: unknown) => {
      // Another worker was first.
      if (!(await exists(prepared))) throw error;
    });
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function exists(path: string): Promise<boolean> {
  return (await stat(path).catch(() => undefined)) !== undefined;
}
