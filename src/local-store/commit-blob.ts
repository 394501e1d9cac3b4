import { fchmodSync, fdatasyncSync, futimesSync, linkSync, renameSync, statSync, unlinkSync } from "node:fs";

/**
 * Modification time, in seconds, of a blob whose bytes were checked (2001-09-09T01:46:40Z). Any time would do that
 * no clock shows: a write moves it, a copy that keeps times keeps it.
 */
export const SEAL = 1_000_000_000;

/**
 * Makes a finished temporary file a blob: durable, read-only, sealed, and only then visible under its name.
 * A whole blob that is already there stays (others may have it mapped), a damaged one is replaced.
 * Synchronous: it runs in hashing threads.
 * @returns whether the blob is new
 */
export function commitBlobSync(fd: number, temporary: string, blob: string): boolean {
  fchmodSync(fd, 0o444);
  fdatasyncSync(fd);
  futimesSync(fd, SEAL, SEAL);
  const { size } = statSync(temporary);
  try {
    linkSync(temporary, blob);
    unlinkSync(temporary);
    return true;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "EEXIST" && isWholeSync(blob, size)) {
      unlinkSync(temporary);
      return false;
    }
    // A damaged blob, or a file system without hard links.
    renameSync(temporary, blob);
    return true;
  }
}

/** Whether a blob is there, has its size, and was not written since it was checked. */
export function isWholeSync(blob: string, size: number): boolean {
  const stats = statSync(blob, { throwIfNoEntry: false });
  return stats?.size === size && stats.mtimeMs === SEAL * 1000;
}
