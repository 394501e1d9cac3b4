import { access, constants, lstat, realpath, rename, rm, rmdir, utimes } from "node:fs/promises";
import { dirname, sep } from "node:path";
import { SourceError } from "../errors.ts";
import { syncFolder } from "../node/atomic-write.ts";
import { fileError, type FileSource, isAbsent, openFileSource } from "../node/file-source.ts";
import type { MoveHeader } from "./move-journal.ts";
import type { StorePaths } from "./store-paths.ts";

/** Ending of a file from before its first byte is freed until it is removed, since it is not a complete model. */
const ENDING = ".consuming";

/**
 * Checks that a file may be freed: it has one name, this user may write it, and it is not in the store.
 * @throws SourceError `unsupported`
 */
export async function requireMovable(path: string, { root }: StorePaths): Promise<void> {
  const refuse = (reason: string, hint: string): SourceError =>
    new SourceError("unsupported", `Cannot move "${path}": ${reason}`, { path, hint });
  const stats = await lstat(path);
  if (stats.isSymbolicLink())
    throw refuse("it is a link", "Name the target of the link, or add the file without --move");
  if (stats.nlink > 1) throw refuse("it has other names (hard links)", "Add the file without --move");
  if ((await realpath(path)).startsWith((await realpath(root)) + sep)) {
    throw refuse("it is in the store", "Name a file outside of the store");
  }
  await access(path, constants.W_OK).catch(() => {
    throw refuse("it is not writable", "Make the file writable, or add it without --move");
  });
}

/**
 * Renames the files of a journal, unless they have their temporary names already, and opens them.
 * @throws SourceError `source-changed` for a file with another identity than in the journal
 */
export async function openMoving({ files }: MoveHeader): Promise<FileSource[]> {
  const opened: FileSource[] = [];
  try {
    for (const { original, device, inode, size, modified } of files) {
      const path = original + ENDING;
      await rename(original, path).catch((cause: unknown) => {
        // An interrupted move has renamed the file already.
        if (!isAbsent(cause)) throw fileError(original, "rename", cause);
      });
      await stamp(path, modified);
      const source = await openFileSource(path);
      opened.push(source);
      const { identity } = source;
      if (identity.device === device && identity.inode === inode && identity.size === size) continue;
      throw new SourceError("source-changed", `Cannot resume the add of "${original}": it is another file`, {
        path,
        hint: "Restore the file that was being added",
      });
    }
    for (const folder of new Set(files.map(({ original }) => dirname(original)))) await syncFolder(folder);
    return opened;
  } catch (error) {
    for (const source of opened) await source[Symbol.asyncDispose]();
    throw error;
  }
}

/** Restores the modification time of files after parts were freed, so that they count as unchanged. */
export async function stampAll({ files }: MoveHeader): Promise<void> {
  for (const { original, modified } of files) await stamp(original + ENDING, modified);
}

/** Restores the original names of the files. */
export async function restoreNames({ files }: MoveHeader): Promise<void> {
  for (const { original } of files) {
    await rename(original + ENDING, original).catch((error: unknown) => {
      if (!isAbsent(error)) throw error;
    });
  }
}

/** Removes the files, their folder if it is empty, and then the journal. */
export async function removeAll({ files, folder }: MoveHeader, journal: string): Promise<void> {
  for (const { original } of files) await rm(original + ENDING, { force: true });
  // This fails for a folder with other files, which stays.
  if (folder !== null) await rmdir(folder).catch(() => undefined);
  await rm(journal, { force: true });
}

/** Sets the modification time in full seconds, which every file system stores exactly. */
async function stamp(path: string, modified: number): Promise<void> {
  const seconds = Math.floor(modified / 1000);
  await utimes(path, seconds, seconds).catch((cause: unknown) => {
    throw fileError(path, "open", cause);
  });
}
