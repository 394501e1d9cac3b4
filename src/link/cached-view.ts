import { type Stats, statSync } from "node:fs";
import { open, readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { TareError } from "../errors.ts";
import { digestHex } from "../tensor/digest.ts";
import { MediaType } from "../model/manifest.ts";
import type { StoredModel } from "../model/stored-model.ts";
import type { StorePaths } from "../local-store/store-paths.ts";
import { makeOwnFolder } from "../local-store/own-folders.ts";
import { withSystemErrors } from "../local-store/system-errors.ts";
import { SEAL } from "../local-store/commit-blob.ts";
import { writeView } from "./view.ts";
import type { GgufView } from "./gguf-view.ts";

/** Modification time, in seconds, that marks a copy of a shard, on file systems without hard links. */
const COPIED = SEAL + 1;

/**
 * Finds the cached view of a model. Each shard must be a hard link to its blob, so that models share its memory, and no
 * file may have been written to. The caller has checked the blobs of the model.
 * @param verify accept no copies of shards, because the check of the blobs does not cover copies
 * @returns the path of the first shard; `undefined` without a valid view
 */
export async function findCachedView(
  layout: StorePaths,
  model: StoredModel,
  verify: boolean,
): Promise<string | undefined> {
  const folder = folderOf(layout, model);
  const names = await readdir(folder).catch((): string[] => []);
  const first = firstOf(names);
  if (first === undefined || names.length !== Number(first.slice(-"00001.gguf".length, -".gguf".length)))
    return undefined;
  const files = names.map((name) => look(join(folder, name)));
  const shards = model.manifest.layers.filter((layer) => layer.mediaType === MediaType.shard);
  const present = shards.every(({ digest, size }) => {
    const blob = look(layout.blob(digest));
    return files.some(
      (file) =>
        (file?.ino === blob?.ino && file?.dev === blob?.dev) ||
        (!verify && file?.size === size && file.mtimeMs === COPIED * 1000),
    );
  });
  const untouched = files.every((file) => file?.mtimeMs === SEAL * 1000 || file?.mtimeMs === COPIED * 1000);
  return present && untouched ? join(folder, first) : undefined;
}

/**
 * Makes the cached view of a model, unless a valid one exists.
 * @returns the path of the first shard
 */
export async function cacheView(
  layout: StorePaths,
  model: StoredModel,
  view: GgufView,
  verify: boolean,
): Promise<string> {
  const folder = folderOf(layout, model);
  await withSystemErrors(layout.views, () => makeOwnFolder(layout.root, layout.views));
  const write = (): Promise<unknown> => writeView(folder, view.links, view.written, { linked: true });
  // Another process may have made the same view.
  if (!(await unlessThere(write))) {
    const found = await findCachedView(layout, model, verify);
    if (found !== undefined) return found;
    await rm(folder, { recursive: true, force: true });
    await unlessThere(write);
  }
  // Seal the files, which `findCachedView` requires, only after their bytes are on disk.
  for (const { path } of view.written) await seal(join(folder, path), SEAL);
  for (const { path, blob } of view.links)
    if (look(join(folder, path))?.ino !== look(blob)?.ino) await seal(join(folder, path), COPIED);
  // The view may have been made for another name of the same model: its files then have that name.
  return join(folder, firstOf(await readdir(folder).catch((): string[] => [])) ?? view.first);
}

function firstOf(names: readonly string[]): string | undefined {
  return names.find((name) => /-00001-of-\d{5}\.gguf$/.test(name));
}

/**
 * Runs work that fails if its target exists.
 * @returns false if the target exists
 */
export async function unlessThere(work: () => Promise<unknown>): Promise<boolean> {
  try {
    await work();
    return true;
  } catch (error) {
    const { code } = (
      error instanceof TareError && error.cause instanceof Error ? error.cause : error
    ) as NodeJS.ErrnoException;
    if (code !== "exists" && code !== "ENOTEMPTY" && code !== "EEXIST") throw error;
    return false;
  }
}

function folderOf(layout: StorePaths, model: StoredModel): string {
  return join(layout.views, digestHex(model.digest));
}

/** Seals a file of a view. Ignores failures, as with another user's file: the next load makes the view again. */
async function seal(path: string, time: number): Promise<void> {
  const handle = await open(path, "r").catch(() => undefined);
  try {
    await handle?.datasync();
    await handle?.utimes(time, time);
  } catch {
    // The next load makes the view again.
  } finally {
    await handle?.close();
  }
}

function look(path: string): Stats | undefined {
  return statSync(path, { throwIfNoEntry: false });
}
