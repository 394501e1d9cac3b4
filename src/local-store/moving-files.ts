import { access, constants, lstat, realpath, rename, rm, rmdir, utimes } from "node:fs/promises";
import { dirname, sep } from "node:path";
import { SourceError } from "../errors.ts";
import { syncFolder } from "../node/atomic-write.ts";
import { fileError, type FileSource, isAbsent, openFileSource } from "../node/file-source.ts";
import type { MoveHeader } from "./move-journal.ts";
import type { StorePaths } from "./store-paths.ts";

/** A file has this ending from before its first byte is freed until it is removed: it is not a model any more. */
const ENDING = ".consuming";

/**
 * Makes sure that a file may be freed: it has one name, this user may write it, and it is not in the store.
 * @throws SourceError `unsupported`
 */
export async function requireMovable(path: string, { root }: StorePaths): Promise<void> {
  const refuse = (reason: string, hint: string): SourceError =>
    new SourceError("unsupported", `Cannot move "${path}": ${reason}`, { path, hint });
  const stats = await lstat(path);
  if (stats.isSymbolicLink())
    throw refuse("it is a link", "name the file that it leads to, or add it without --move");
  if (stats.nlink > 1) throw refuse("it has other names (hard links)", "add it without --move");
  if ((await realpath(path)).startsWith((await realpath(root)) + sep)) {
    throw refuse("it is in the store", "name a file outside of it");
  }
  await access(path, constants.W_OK).catch(() => {
    throw refuse("it may not be written", "make it writable, or add it without --move");
  });
}

/**
 * Gives the files of a journal their ending, where they do not have it yet, and opens them.
 * @throws SourceError `source-changed` for another file than the journal is about
 */
export async function openMoving({ files }: MoveHeader): Promise<FileSource[]> {
  const opened: FileSource[] = [];
  try {
    for (const { original, device, inode, size, modified } of files) {
      const path = original + ENDING;
      await rename(original, path).catch((cause: unknown) => {
        // It has the name already where this was begun before.
        if (!isAbsent(cause)) throw fileError(original, "rename", cause);
      });
      await stamp(path, modified);
      const source = await openFileSource(path);
      opened.push(source);
      const { identity } = source;
      if (identity.device === device && identity.inode === inode && identity.size === size) continue;
      throw new SourceError("source-changed", `Cannot go on adding "${original}": it is another file`, {
        path,
        hint: "put the file back that was being added",
      });
    }
    for (const folder of new Set(files.map(({ original }) => dirname(original)))) await syncFolder(folder);
    return opened;
  } catch (error) {
    for (const source of opened) await source[Symbol.asyncDispose]();
    throw error;
  }
}

/** Sets the modification time of files that were freed in part: to the process that adds them they are unchanged. */
export async function stampAll({ files }: MoveHeader): Promise<void> {
  for (const { original, modified } of files) await stamp(original + ENDING, modified);
}

/** Gives the files their names back. */
export async function restoreNames({ files }: MoveHeader): Promise<void> {
  for (const { original } of files) {
    await rename(original + ENDING, original).catch((error: unknown) => {
      if (!isAbsent(error)) throw error;
    });
  }
}

/** Removes the files, their folder if nothing else is in it, and then the journal. */
export async function removeAll({ files, folder }: MoveHeader, journal: string): Promise<void> {
  for (const { original } of files) await rm(original + ENDING, { force: true });
  // A folder that has more than the model stays.
  if (folder !== null) await rmdir(folder).catch(() => undefined);
  await rm(journal, { force: true });
}

/** Sets a time that every file system keeps exactly: whole seconds. */
async function stamp(path: string, modified: number): Promise<void> {
  const seconds = Math.floor(modified / 1000);
  await utimes(path, seconds, seconds).catch((cause: unknown) => {
    throw fileError(path, "open", cause);
  });
}
