import { type FileHandle, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { SourceError } from "../errors.ts";
import { openRegularFile } from "../node/open-regular-file.ts";
import { seal } from "./seal.ts";
import { NOT_KEPT } from "./compile-cache.ts";
import type { StorePaths } from "./store-paths.ts";
import { makeOwnFolder, requireOwnFolders } from "./own-folders.ts";
import { openLease } from "./lease.ts";
import { commitBlobSync, SEAL } from "./commit-blob.ts";

/** A kind of cache file with a record. */
export interface SealedKind<R> {
  /** Reads the record of a file; `undefined` if it is damaged. */
  readonly record: (file: FileHandle) => Promise<R | undefined>;
  /** Whether the bytes match the record. */
  readonly isSound: (file: FileHandle, record: R) => Promise<boolean>;
}

/**
 * Reads the record of a sealed file. A file that was written since it was hashed is hashed again; a damaged file is
 * removed.
 * @param full hash the file in any case
 * @returns `undefined` for a missing or damaged file
 */
export async function readSealed<R>(
  paths: StorePaths,
  path: string,
  { record: recordOf, isSound }: SealedKind<R>,
  full = false,
): Promise<R | undefined> {
  const opened = await openRegularFile(path).catch((error: unknown) => {
    if (error instanceof SourceError && error.code === "not-found") return undefined;
    throw error;
  });
  if (!opened) return undefined;
  const { handle: file } = opened;
  try {
    const record = await recordOf(file);
    const sealed = (await file.stat()).mtimeMs === SEAL * 1000 && !full;
    if (record !== undefined && (sealed || (await isSound(file, record)))) {
      if (!sealed) await seal(path).catch(() => undefined);
      return record;
    }
  } finally {
    await file.close();
  }
  await requireOwnFolders(paths);
  await rm(path, { force: true }).catch(() => undefined);
  return undefined;
}

/**
 * Makes a sealed file.
 * @param write creates the file at a path in the folder of a lease, and leaves it open
 * @returns `undefined` in a read-only store or on a full disk
 */
export async function makeSealed<R>(
  paths: StorePaths,
  path: string,
  write: (
    temporary: string,
    folder: string,
  ) => Promise<{ readonly file: FileHandle; readonly finish: () => Promise<R> }>,
): Promise<R | undefined> {
  try {
    await requireOwnFolders(paths);
    await makeOwnFolder(paths.root, dirname(path));
    await using lease = await openLease(paths);
    const temporary = join(lease.folder, "file");
    const { file, finish } = await write(temporary, lease.folder);
    try {
      const record = await finish();
      // Flush here, without blocking the thread, so that commitBlobSync is fast.
      await file.datasync();
      commitBlobSync(file.fd, temporary, path);
      return record;
    } finally {
      await file.close();
    }
  } catch (error) {
    if (NOT_KEPT.includes((error as NodeJS.ErrnoException).code ?? "")) return undefined;
    throw error;
  }
}
