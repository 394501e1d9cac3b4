import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { SourceError } from "../../src/errors.ts";
import { punchHole } from "../../src/node/punch-hole.ts";

/** File systems free whole blocks. */
const BLOCK = 4096;

/** Whether parts of the files in a folder can be freed. */
export async function canPunchHoles(folder: string): Promise<boolean> {
  const trial = await mkdtemp(join(folder, ".tare-"));
  try {
    await writeFile(join(trial, "trial"), new Uint8Array(2 * BLOCK));
    await punchHole(join(trial, "trial"), 0, BLOCK);
    return true;
  } catch (error) {
    if (error instanceof SourceError && error.code === "unsupported") return false;
    throw error;
  } finally {
    await rm(trial, { recursive: true, force: true });
  }
}
