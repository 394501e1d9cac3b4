import { mkdir } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { lock } from "proper-lockfile";
import { rebuildCharlm } from "../../fixtures/charlm/rebuild.mjs";

/** The models of the family. */
export const CHARLM_MODELS = ["base", "kjv", "licence"] as const;
/** The graphs of each. */
export const CHARLM_GRAPHS = ["decoder", "decoder_with_past"] as const;

const FOLDER = fileURLToPath(new URL("../../build/fixtures/charlm", import.meta.url));
let rebuilt: Promise<string> | undefined;

/**
 * Folder with `{base,kjv,licence}/{decoder,decoder_with_past}.onnx`, rebuilt if need be. All tests share it: do not
 * write into it.
 */
export function charlm(): Promise<string> {
  rebuilt ??= rebuild();
  return rebuilt;
}

/** Workers of one test run come here at once: the first rebuilds, the others wait for it. */
async function rebuild(): Promise<string> {
  await mkdir(FOLDER, { recursive: true });
  const release = await lock(FOLDER, {
    retries: { retries: 600, factor: 1, minTimeout: 50, maxTimeout: 50 },
  });
  try {
    await rebuildCharlm(FOLDER);
  } finally {
    await release();
  }
  return FOLDER;
}
