import { chmod, readFile, utimes, writeFile } from "node:fs/promises";
import { SEAL } from "../../src/local-store/commit-blob.ts";

/** Changes a byte of a blob and keeps its time, as a disk does that loses a bit. */
export async function rot(path: string, offset = 0): Promise<void> {
  const bytes = await readFile(path);
  const at = offset < 0 ? bytes.length + offset : offset;
  bytes[at] = (bytes[at] as number) ^ 0xff;
  await chmod(path, 0o644);
  await writeFile(path, bytes);
  await chmod(path, 0o444);
  await utimes(path, SEAL, SEAL);
}
