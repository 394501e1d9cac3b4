import { mkdtemp, readdir, rm, statfs } from "node:fs/promises";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { TestProject } from "vitest/node";
import { build } from "../../scripts/build.mjs";

declare module "vitest" {
  interface ProvidedContext {
    /** Hash of the sources that `dist` was built from. */
    readonly sources: string;
  }
}

/** Seconds of one core that the tests of `npm test` take together. */
const QUICK_SECONDS = 240;
/** Bytes that the folders of tests under way have room for. */
const MIN_MEMORY_FOLDER_SIZE = 2 * 2 ** 30;
const STORES = fileURLToPath(new URL("../../build/fixtures/stores", import.meta.url));

/**
 * Runs before all tests: builds `dist` from the sources as they are. The quick tests have their temporary folders in
 * memory where the system has such a folder; all tests have them on the disk.
 */
export async function setup(project: TestProject): Promise<(() => Promise<void>) | undefined> {
  const isQuick = project.config.env.TARE_TESTS !== "all";
  const isWhole = process.argv.slice(2).every((each) => each === "run" || each.startsWith("--"));
  if (isQuick && isWhole) {
    const seconds = Math.ceil(QUICK_SECONDS / availableParallelism() / 10) * 10;
    console.log(`This takes about ${seconds} s; the long ones too: npm run test:all`);
  }
  await prepare(project);
  project.onTestsRerun(() => prepare(project));
  const folder = isQuick ? await memoryFolder() : undefined;
  if (folder === undefined) return undefined;
  process.env.TMPDIR = folder;
  return () => rm(folder, { recursive: true, force: true });
}

async function prepare(project: TestProject): Promise<void> {
  const sources = await build();
  project.provide("sources", sources);
  // Stores that other sources made.
  const others = (await readdir(STORES).catch(() => [])).filter((name) => name !== sources);
  await Promise.all(others.map((name) => rm(join(STORES, name), { recursive: true, force: true })));
}

/** A new folder in memory; `undefined` where there is no room, or the caller names a folder. */
async function memoryFolder(): Promise<string | undefined> {
  if (process.platform !== "linux" || process.env.TMPDIR !== undefined) return undefined;
  const { bavail, bsize } = await statfs("/dev/shm").catch(() => ({ bavail: 0, bsize: 0 }));
  if (bavail * bsize < MIN_MEMORY_FOLDER_SIZE) return undefined;
  return mkdtemp("/dev/shm/tare-test-").catch(() => undefined);
}
