import { randomBytes } from "node:crypto";
import { link, open, rename, rm } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { fileError } from "./file-source.ts";

/**
 * Writes a small file so that a reader, and a machine that lost power, sees either the old or the new one whole:
 * temporary file, fsync, rename, fsync of the folder.
 */
export async function writeFileAtomically(path: string, bytes: Uint8Array): Promise<void> {
  await writeBeside(path, bytes, rename);
}

/** The same for a file that may be there already: then it is left alone, even if another process makes it meanwhile. */
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
 * Writes a file or a folder beside its place, and renames it once it is whole: until then nothing appears there, and
 * a failure leaves nothing behind.
 * @param target an absolute path
 * @param write writes it at the temporary path that it gets
 * @throws SourceError `disk-full`, `io`; what `write` throws
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

/** Makes the names in a folder durable. */
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
