import lockfile from "proper-lockfile";
import { join } from "node:path";
import { StoreError } from "../errors.ts";
import type { StorePaths } from "./store-paths.ts";

/** A dead writer holds the lock this long; a living writer renews it well before. */
const STALE_MS = 10_000;

/**
 * Runs `work` while no other process changes `index.json` or collects. Held for moments: streaming happens outside.
 * @param work gets a check that throws if the lock was lost meanwhile, and calls it before each change
 * @throws StoreError `locked` if it cannot be had within half a minute
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
      // Longer in all than a dead writer's lock lasts.
      retries: { retries: 500, factor: 1, minTimeout: 30, maxTimeout: 100, randomize: true },
      onCompromised: (error) => {
        compromised = error;
      },
    })
    .catch((cause: unknown) => {
      throw new StoreError("locked", `Cannot lock the store "${paths.root}"`, {
        path,
        cause,
        hint: "another tare holds it; try again, or delete the lock if none runs",
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

/** A process that slept past the lock's life (a suspended laptop) must not write any more. */
function lost(paths: StorePaths, cause: Error): StoreError {
  return new StoreError("locked", `Cannot go on changing the store "${paths.root}": its lock was lost`, {
    path: paths.root,
    cause,
    hint: "try again",
  });
}
