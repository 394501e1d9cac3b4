import { statSync } from "node:fs";
import { type FileHandle, mkdir, open, readdir, rename, rmdir, stat } from "node:fs/promises";
import { basename, join } from "node:path";
import { isAbsent } from "../node/file-source.ts";
import type { ProcessIdentity } from "../node/process-identity.ts";
import { openScratch } from "./lease.ts";
import { isOwnerAlive, parseOwner } from "./owner-name.ts";
import type { StorePaths } from "./store-paths.ts";

/** Time between two renewals of a lock, in milliseconds. */
const RENEW_MS = 2000;
/** Lifetime without renewal of a lock whose owner cannot be known: of another machine or container. In milliseconds. */
const UNKNOWN_MS = 30_000;
/** Lifetime without renewal of a lock of an older version of tare, an empty folder, in milliseconds. */
const OLD_MS = 10_000;
const MIN_PAUSE_MS = 20;
const MAX_PAUSE_MS = 80;

/** A lock that this process has. */
export interface FileLock {
  /**
   * Folder inside of the lock. It is gone if the lock is lost, so that a rename from or to this folder has no effect without
   * the lock.
   */
  readonly folder: string;
  /** Whether this process still has the lock. */
  isHeld(): boolean;
  release(): Promise<void>;
}

/** Returned for a lock that another process has; `owner` is `undefined` for an older version of tare. */
export interface BusyLock {
  readonly owner: ProcessIdentity | undefined;
}

/**
 * Takes a lock: a folder, with one folder named after its owner. A lock of a dead owner is taken at once, that of a living one,
 * also of a stopped one, never. If the owner cannot be known, the lock is taken after 30 seconds without a renewal.
 * @param path path of the lock, in the file system of `paths.temporary`
 * @param waitMs time to wait for the lock, in milliseconds
 */
export async function takeLock(
  path: string,
  paths: Pick<StorePaths, "temporary">,
  waitMs: number,
): Promise<FileLock | BusyLock> {
  await using scratch = await openScratch(paths);
  const token = basename(scratch.folder);
  const prepared = join(scratch.folder, "lock");
  await mkdir(join(prepared, token), { recursive: true });
  const beat = await open(join(prepared, token, "owner"), "wx");
  const end = performance.now() + waitMs;
  try {
    for (;;) {
      const busy = await clearStale(path, beat, scratch.folder);
      if (!busy && (await renameNew(prepared, path))) return held(path, token, beat, paths);
      if (performance.now() > end) {
        await beat.close();
        return busy ?? { owner: undefined };
      }
      const pause = MIN_PAUSE_MS + Math.random() * (MAX_PAUSE_MS - MIN_PAUSE_MS);
      await new Promise((resolve) => setTimeout(resolve, pause));
    }
  } catch (error) {
    await beat.close();
    throw error;
  }
}

/** Gives a prepared folder the name of the lock; `false` if another process has the lock. */
async function renameNew(prepared: string, path: string): Promise<boolean> {
  try {
    // This replaces an empty folder, and fails for one that has an owner.
    await rename(prepared, path);
    return true;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ENOTEMPTY" || code === "EEXIST" || code === "EPERM") return false;
    throw error;
  }
}

/** Removes the owner of a lock if it is dead. @returns the lock if it is in use */
async function clearStale(path: string, beat: FileHandle, scratch: string): Promise<BusyLock | undefined> {
  const [token] = await readdir(path).catch((error: unknown) => {
    if (isAbsent(error)) return [];
    throw error;
  });
  if (token === undefined) {
    const age = await ageOf(path, beat);
    return age !== undefined && age < OLD_MS ? { owner: undefined } : undefined;
  }
  const owner = parseOwner(token);
  const alive = owner && isOwnerAlive(owner);
  const age = alive === undefined ? await ageOf(join(path, token, "owner"), beat) : undefined;
  if (alive || (age !== undefined && age < UNKNOWN_MS)) return { owner: owner?.process };
  // The name of the owner makes sure that this does not remove the lock of a process that was faster.
  await rename(join(path, token), join(scratch, token)).catch(ignoreAbsent);
  return undefined;
}

/** Time since a file was renewed, or until then, in milliseconds, by the clock of the file system; `undefined` if it is gone. */
async function ageOf(path: string, beat: FileHandle): Promise<number | undefined> {
  const stats = await stat(path).catch(() => undefined);
  await renew(beat);
  return stats && Math.abs((await beat.stat()).mtimeMs - stats.mtimeMs);
}

function held(path: string, token: string, beat: FileHandle, paths: Pick<StorePaths, "temporary">): FileLock {
  const folder = join(path, token);
  const timer = setInterval(() => void renew(beat).catch(() => undefined), RENEW_MS);
  timer.unref();
  return {
    folder,
    isHeld: () => statSync(folder, { throwIfNoEntry: false }) !== undefined,
    async release() {
      clearInterval(timer);
      await beat.close();
      await using scratch = await openScratch(paths);
      await rename(folder, join(scratch.folder, token)).catch(ignoreAbsent);
      // Another process may have the lock by now.
      await rmdir(path).catch(() => undefined);
    },
  };
}

/** Writes a file, which sets its time to that of the file system. */
async function renew(beat: FileHandle): Promise<void> {
  await beat.write("tare\n", 0);
}

function ignoreAbsent(error: unknown): void {
  if (!isAbsent(error)) throw error;
}
