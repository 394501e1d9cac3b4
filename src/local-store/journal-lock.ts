import { basename, dirname, join } from "node:path";
import lockfile from "proper-lockfile";
import { StoreError } from "../errors.ts";

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
export async function lockJournal(journal: string): Promise<JournalLock> {
  const refusal = (cause: unknown): StoreError =>
    new StoreError("locked", "Cannot move the files: another tare process moves them", {
      path: journal,
      cause,
      hint: "Wait for the other process; after a crash, wait some seconds",
    });
  let lost: Error | undefined;
  const lockfilePath = join(dirname(journal), `.${basename(journal)}.lock`);
  const onCompromised = (error: Error): void => void (lost = error);
  let release: (() => Promise<void>) | undefined = await lockfile
    .lock(journal, {
      lockfilePath,
      realpath: false,
      stale: 5000,
      onCompromised,
      retries: { retries: 8, minTimeout: 1000, maxTimeout: 1000 },
    })
    .catch((cause: unknown) => {
      throw refusal(cause);
    });
  return {
    assertHeld() {
      if (lost) throw refusal(lost);
    },
    async release() {
      const held = release;
      release = undefined;
      if (!lost) await held?.();
    },
  };
}
