import { mkdir, stat } from "node:fs/promises";
import { dirname, resolve } from "node:path";

/**
 * Creates a folder and its parents, unless they exist. Unlike a recursive `mkdir` of Node, it ends where the file system
 * denies that a new folder exists, as /proc does.
 * @throws the system error of the folder that cannot be created
 */
export async function makeFolder(path: string): Promise<void> {
  const full = resolve(path);
  try {
    await mkdir(full);
  } catch (error) {
    if (await isFolder(full)) return;
    const parent = dirname(full);
    if ((error as NodeJS.ErrnoException).code !== "ENOENT" || parent === full || (await isFolder(parent)))
      throw error;
    await makeFolder(parent);
    await mkdir(full).catch(async (cause: unknown) => {
      // Another process may have made it in the meantime.
      if (!(await isFolder(full))) throw cause;
    });
  }
}

async function isFolder(path: string): Promise<boolean> {
  return (await stat(path).catch(() => undefined))?.isDirectory() ?? false;
}
