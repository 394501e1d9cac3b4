import { open, rename } from "node:fs/promises";
import { dirname, join } from "node:path";
import { StoreError } from "../errors.ts";
import { syncFolder } from "../node/atomic-write.ts";
import { isAbsent } from "../node/file-source.ts";
import type { StorePaths } from "./store-paths.ts";
import { type FileLock, takeLock } from "./take-lock.ts";

/** Longer than the lifetime of a lock whose owner cannot be known, in milliseconds. */
const WAIT_MS = 45_000;

/** The lock of a store, during a call of {@link withLock}. */
export interface StoreLock {
  /** @throws StoreError `locked` if the lock was lost */
  assertHeld(): void;
  /**
   * Replaces a small file of the store, atomically and durably. The file does not change if the lock was lost.
   * @throws StoreError `locked`
   */
  write(path: string, bytes: Uint8Array): Promise<void>;
  /**
   * Removes a file of the store, if it exists. The file stays if the lock was lost.
   * @throws StoreError `locked`
   */
  remove(path: string): Promise<void>;
}

/**
 * Runs `work` under the lock for changes of `index.json` and collections. Hold it for a short time, not while streaming.
 * @param work changes the store by the methods of the lock
 * @throws StoreError `locked` after 45 seconds of attempts, or if the lock was lost: by a process of another machine or container
 * that was suspended for over 30 seconds
 */
export async function withLock<T>(paths: StorePaths, work: (lock: StoreLock) => Promise<T>): Promise<T> {
  const path = join(paths.root, "lock");
  const refusal = (details: { readonly cause?: unknown; readonly hint: string }): StoreError =>
    new StoreError("locked", `Cannot lock the store "${paths.root}"`, { path, ...details });
  const taken = await takeLock(path, paths, WAIT_MS).catch((cause: unknown) => {
    throw refusal({ cause, hint: "Check that this user may write to the store's folder" });
  });
  if (!("release" in taken)) {
    const { owner } = taken;
    const who = owner ? `Process ${owner.pid} of host ${owner.host}` : "Another process";
    throw refusal({ hint: `${who} has the lock: try again, or end that process` });
  }
  try {
    return await work(storeLock(paths, taken));
  } finally {
    await taken.release();
  }
}

function storeLock(paths: StorePaths, lock: FileLock): StoreLock {
  const assertHeld = (): void => {
    if (lock.isHeld()) return;
    throw new StoreError("locked", `Cannot change the store "${paths.root}": its lock was lost`, {
      path: paths.root,
      hint: "Try again",
    });
  };
  return {
    assertHeld,
    async write(path, bytes) {
      assertHeld();
      const temporary = join(lock.folder, "written");
      try {
        const handle = await open(temporary, "w", 0o644);
        try {
          await handle.writeFile(bytes);
          await handle.sync();
        } finally {
          await handle.close();
        }
        await rename(temporary, path);
      } catch (error) {
        assertHeld();
        throw error;
      }
      await syncFolder(dirname(path));
    },
    async remove(path) {
      assertHeld();
      // A rename needs the folder of the lock; the next one replaces the file, and the release removes the last one.
      await rename(path, join(lock.folder, "removed")).catch((error: unknown) => {
        assertHeld();
        if (!isAbsent(error)) throw error;
      });
    },
  };
}
