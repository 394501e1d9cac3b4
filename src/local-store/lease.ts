import { randomBytes } from "node:crypto";
import { mkdir, rm } from "node:fs/promises";
import { hostname } from "node:os";
import { join } from "node:path";
import { listOwn } from "./own-folders.ts";
import type { StorePaths } from "./store-paths.ts";

/** Lifetime of a lease of another machine (for a store on a network drive), in milliseconds. */
const FOREIGN_MS = 24 * 3600 * 1000;
const HOST = hostname().replace(/[^A-Za-z0-9-]/g, "-");

/** A folder for the unfinished files of a writer. While the writer lives, collections keep its blobs. */
export interface LeaseFolder extends AsyncDisposable {
  readonly folder: string;
}

/** Opens a lease: the first step of a writer. */
export async function openLease(paths: Pick<StorePaths, "temporary">): Promise<LeaseFolder> {
  // The name contains owner and time, so that a lease has both from its creation on.
  const id = [HOST, process.pid, Date.now(), randomBytes(6).toString("hex")].join(".");
  const folder = join(paths.temporary, id);
  await mkdir(folder, { recursive: true });
  return {
    folder,
    async [Symbol.asyncDispose]() {
      await rm(folder, { recursive: true, force: true });
    },
  };
}

/** Name of a lease: host, process, start, and random digits. */
const LEASE = /^[A-Za-z0-9-]*\.\d+\.\d+\.[0-9a-f]{12}$/;

/**
 * Removes the leases of dead writers, unless `dryRun`, and no other entries.
 * @returns start time of the oldest living lease, in milliseconds; `undefined` if there is none
 */
export async function sweepLeases(
  paths: Pick<StorePaths, "temporary">,
  { dryRun = false }: { readonly dryRun?: boolean | undefined } = {},
): Promise<number | undefined> {
  let oldest: number | undefined;
  for (const { name, path } of await listOwn(paths.temporary, (each) => LEASE.test(each), "folder")) {
    const [host, pid, began] = name.split(".");
    if (isAlive(host, Number(pid), Number(began))) oldest = Math.min(oldest ?? Number(began), Number(began));
    else if (!dryRun) await rm(path, { recursive: true, force: true });
  }
  return oldest;
}

function isAlive(host: string | undefined, pid: number, began: number): boolean {
  if (!Number.isSafeInteger(pid) || pid <= 0 || !Number.isSafeInteger(began)) return false;
  if (host !== HOST) return Date.now() - began < FOREIGN_MS;
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}
