import { basename, dirname, join } from "node:path";
import { StoreError } from "../errors.ts";
import type { StorePaths } from "./store-paths.ts";
import { takeLock } from "./take-lock.ts";

/** Time to wait for the lock of a journal, in milliseconds. */
const WAIT_MS = 8000;

/** The lock of a journal: only its holder may free the files of the journal. */
export interface JournalLock {
  /** @throws StoreError `locked` if the lock was lost */
  assertHeld(): void;
  /** Releases the lock. A second call has no effect. */
  release(): Promise<void>;
}

/**
 * Locks a journal.
 * @throws StoreError `locked` if another process moves the same files
 */
export async function lockJournal(journal: string, paths: StorePaths): Promise<JournalLock> {
  const refusal = (cause?: unknown): StoreError =>
    new StoreError("locked", "Cannot move the files: another tare process moves them", {
      path: journal,
      cause,
      hint: "Wait for the other process; after a crash in another container, wait half a minute",
    });
  const path = join(dirname(journal), `.${basename(journal)}.lock`);
  const taken = await takeLock(path, paths, WAIT_MS).catch((cause: unknown) => {
    throw refusal(cause);
  });
  if (!("release" in taken)) throw refusal();
  let released = false;
  return {
    assertHeld() {
      if (!taken.isHeld()) throw refusal();
    },
    async release() {
      if (released) return;
      released = true;
      await taken.release();
    },
  };
}
