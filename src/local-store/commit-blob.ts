import {
  fchmodSync,
  fdatasyncSync,
  futimesSync,
  linkSync,
  renameSync,
  statSync,
  unlinkSync,
  utimesSync,
} from "node:fs";

/**
 * Modification time, in seconds, of a blob whose bytes were checked (2001-09-09T01:46:40Z). It is in the past, so that
 * every write changes it; a copy that preserves times keeps it.
 */
export const SEAL = 1_000_000_000;

/**
 * Makes a complete temporary file a blob: durable, read-only, sealed, then visible under its name.
 * Keeps an existing sealed blob (other processes may map it), replaces another one.
 * Synchronous, since it runs in hashing threads.
 * @param damaged replace the blob although it is sealed: the caller found other bytes in it
 * @returns `true` if the blob is new or replaced
 */
export function commitBlobSync(fd: number, temporary: string, blob: string, damaged = false): boolean {
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
    if (code === "EEXIST" && !damaged && isWholeSync(blob, size)) {
      unlinkSync(temporary);
      return false;
    }
    // The blob is damaged, or the file system has no hard links.
    renameSync(temporary, blob);
    return true;
  }
}

/** Whether a blob exists, has this size, and is sealed: not written since it was checked. */
export function isWholeSync(blob: string, size: number): boolean {
  const stats = statSync(blob, { throwIfNoEntry: false });
  return stats?.size === size && stats.mtimeMs === SEAL * 1000;
}

/**
 * Removes the seal of a blob with wrong bytes, so that each use hashes it and an add replaces it. Has no effect without the
 * right to change the blob.
 */
export function unsealSync(blob: string): void {
  const now = Date.now() / 1000;
  try {
    utimesSync(blob, now, now);
  } catch {
    // Another process may have removed it, or the store is read-only.
  }
}
