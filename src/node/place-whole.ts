import { randomBytes } from "node:crypto";
import { rename, rm } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { syncFolder } from "./atomic-write.ts";
import { fileError } from "./file-source.ts";

/**
 * Makes a file or a folder beside where it belongs, and gives it its name once it is whole: until then nothing appears
 * there, and nothing is left of one that failed.
 * @param target an absolute path
 * @param write makes it at the path that it is given
 * @throws SourceError `disk-full`, `io`; what `write` throws
 */
export async function writeAtomically<T>(
  target: string,
  write: (temporary: string) => Promise<T>,
): Promise<T> {
  const temporary = join(dirname(target), `.${basename(target)}.${randomBytes(6).toString("hex")}`);
  let result: T;
  try {
    result = await write(temporary);
    await rename(temporary, target);
  } catch (error) {
    await rm(temporary, { recursive: true, force: true });
    throw error instanceof Error && "syscall" in error ? fileError(target, "write", error) : error;
  }
  await syncFolder(dirname(target));
  return result;
}
