import { mkdir, rm, stat, utimes } from "node:fs/promises";
import { join } from "node:path";
import { listOwn } from "./own-folders.ts";
import { isOwnerAlive, type Owner, ownerName, parseOwner } from "./owner-name.ts";
import type { StorePaths } from "./store-paths.ts";

/** Time between two renewals of a lease, in milliseconds. */
const RENEW_MS = 60_000;
/** Lifetime without renewal of a lease whose owner cannot be known: of another machine or container. In milliseconds. */
const UNKNOWN_MS = 15 * 60_000;
/** Lifetime of such a lease of an older version of tare, which does not renew it, in milliseconds. */
const OLD_MS = 24 * 3600 * 1000;
/** Ending of a folder that is no lease: it is in use only while its owner takes or releases a lock. */
const SCRATCH = ".lock";

/** A folder for the unfinished files of a writer. While the writer lives, collections keep its blobs. */
export interface LeaseFolder extends AsyncDisposable {
  readonly folder: string;
}

/** Opens a lease: the first step of a writer. */
export async function openLease(paths: Pick<StorePaths, "temporary">): Promise<LeaseFolder> {
  const folder = join(paths.temporary, ownerName());
  await mkdir(folder, { recursive: true });
  const renew = setInterval(() => {
    const now = Date.now() / 1000;
    utimes(folder, now, now).catch(() => undefined);
  }, RENEW_MS);
  renew.unref();
  return {
    folder,
    async [Symbol.asyncDispose]() {
      clearInterval(renew);
      await rm(folder, { recursive: true, force: true });
    },
  };
}

/** Opens a folder for files of this process that keeps no blobs from collection. Dispose it to remove the folder. */
export async function openScratch(paths: Pick<StorePaths, "temporary">): Promise<LeaseFolder> {
  const folder = join(paths.temporary, ownerName() + SCRATCH);
  await mkdir(folder, { recursive: true });
  return { folder, [Symbol.asyncDispose]: () => rm(folder, { recursive: true, force: true }) };
}

/**
 * Removes the leases of dead writers, unless `dryRun`, and no other entries.
 * @returns start time of the oldest living lease, in milliseconds; `undefined` if there is none
 */
export async function sweepLeases(
  paths: Pick<StorePaths, "temporary">,
  { dryRun = false }: { readonly dryRun?: boolean | undefined } = {},
): Promise<number | undefined> {
  let oldest: number | undefined;
  for (const { name, path } of await listOwn(
    paths.temporary,
    (each) => parseOwner(each) !== undefined,
    "folder",
  )) {
    const owner = parseOwner(name) as Owner;
    if (!(await isLiving(owner, path))) {
      if (!dryRun) await rm(path, { recursive: true, force: true });
    } else if (!name.endsWith(SCRATCH)) oldest = Math.min(oldest ?? owner.began, owner.began);
  }
  return oldest;
}

/** Whether the owner of a lease runs. If that cannot be known, the time of its last renewal decides. */
async function isLiving(owner: Owner, path: string): Promise<boolean> {
  const alive = isOwnerAlive(owner);
  if (alive !== undefined) return alive;
  if (owner.isOld) return Date.now() - owner.began < OLD_MS;
  const stats = await stat(path).catch(() => undefined);
  // A time in the future is no renewal either.
  return stats !== undefined && Math.abs(Date.now() - stats.mtimeMs) < UNKNOWN_MS;
}
