import lockfile from "proper-lockfile";
import { join } from "node:path";
import { StoreError } from "../errors.ts";
import type { StorePaths } from "./store-paths.ts";

/** Lifetime of the lock of a dead process, in milliseconds; a living process renews its lock more often. */
const STALE_MS = 10_000;

/**
 * Runs `work` under the lock for changes of `index.json` and collections. Hold it for a short time, not while
 * streaming.
 * @param work calls `assertHeld` before each change, which throws if the lock was lost
 * @throws StoreError `locked` after half a minute of attempts
 */
export async function withLock<T>(
  paths: StorePaths,
  work: (assertHeld: () => void) => Promise<T>,
): Promise<T> {
  const path = join(paths.root, "lock");
  let compromised: Error | undefined;
  const release = await lockfile
    .lock(paths.root, {
      lockfilePath: path,
      realpath: false,
      stale: STALE_MS,
      update: STALE_MS / 5,
      // In sum longer than the lifetime of a dead process's lock.
      retries: { retries: 500, factor: 1, minTimeout: 30, maxTimeout: 100, randomize: true },
      onCompromised: (error) => {
        compromised = error;
      },
    })
    .catch((cause: unknown) => {
      throw new StoreError("locked", `Cannot lock the store "${paths.root}"`, {
        path,
        cause,
        hint: "Wait for the other tare process, or delete the lock if none runs",
      });
    });
  try {
    return await work(() => {
      if (compromised) throw lost(paths, compromised);
    });
  } finally {
    if (!compromised) await release();
  }
}

/** Makes the error for a process that was suspended for longer than the lifetime of its lock, and must not write. */
function lost(paths: StorePaths, cause: Error): StoreError {
  return new StoreError("locked", `Cannot change the store "${paths.root}": its lock was lost`, {
    path: paths.root,
    cause,
    hint: "Try again",
  });
}
