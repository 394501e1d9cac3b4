import { basename, dirname, join } from "node:path";
import lockfile from "proper-lockfile";
import { StoreError } from "../errors.ts";

/** The right to free the files of one journal: one process at a time has it. */
export interface JournalLock {
  /** @throws StoreError `locked` if it was lost meanwhile */
  assertHeld(): void;
  /** A second time does nothing. */
  release(): Promise<void>;
}

/**
 * Locks a journal.
 * @throws StoreError `locked` where another process moves the same files
 */
export async function lockJournal(journal: string): Promise<JournalLock> {
  const refusal = (cause: unknown): StoreError =>
    new StoreError("locked", "Cannot move these files: another tare moves them", {
      path: journal,
      cause,
      hint: "wait for it; after a crash, for some seconds",
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
