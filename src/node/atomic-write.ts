import { randomBytes } from "node:crypto";
import { link, open, rename, rm } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { fileError } from "./file-source.ts";

/**
 * Replaces a small file atomically and durably: temporary file, fsync, rename, fsync of the folder. A reader, also
 * after a loss of power, sees the complete old or the complete new file.
 */
export async function writeFileAtomically(path: string, bytes: Uint8Array): Promise<void> {
  await writeBeside(path, bytes, rename);
}

/** Creates a small file atomically and durably; leaves an existing file alone, also one from a concurrent process. */
export async function createFileAtomically(path: string, bytes: Uint8Array): Promise<void> {
  await writeBeside(path, bytes, async (temporary) => {
    try {
      await link(temporary, path);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
    }
    await rm(temporary);
  });
}

/**
 * Writes a file or folder under a temporary name, and renames it when it is complete. A failure leaves nothing behind.
 * @param target absolute path
 * @param write writes the file or folder at the temporary path
 * @throws SourceError `disk-full`, `io`; the errors of `write`
 */
export async function writeAtomically<T>(
  target: string,
  write: (temporary: string) => Promise<T>,
): Promise<T> {
  const temporary = temporaryBeside(target);
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

/** Makes the entries of a folder durable. */
export async function syncFolder(path: string): Promise<void> {
  const handle = await open(path, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

async function writeBeside(
  path: string,
  bytes: Uint8Array,
  place: (temporary: string, path: string) => Promise<void>,
): Promise<void> {
  const temporary = temporaryBeside(path);
  try {
    const handle = await open(temporary, "wx", 0o644);
    try {
      await handle.writeFile(bytes);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await place(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
  await syncFolder(dirname(path));
}

function temporaryBeside(path: string): string {
  return join(dirname(path), `.${basename(path)}.${randomBytes(6).toString("hex")}`);
}
