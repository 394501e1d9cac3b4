import { type Stats, statSync } from "node:fs";
import { open, readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { TareError } from "../errors.ts";
import { digestHex } from "../tensor/digest.ts";
import { MediaType } from "../model/manifest.ts";
import type { StoredModel } from "../model/stored-model.ts";
import type { StorePaths } from "../local-store/store-paths.ts";
import { SEAL } from "../local-store/commit-blob.ts";
import { writeView } from "./view.ts";
import type { GgufView } from "./gguf-view.ts";

/** Modification time, in seconds, of a shard's copy, where the file system has no hard links. */
const COPIED = SEAL + 1;

/**
 * Finds the view that the store keeps of a model, if it is still what it was made as: each shard the very file of the
 * store, so that models share its memory, and nothing written since. The model's blobs were checked before.
 * @param verify take no copies of shards, which checking the blobs says nothing of
 * @returns the path of the first shard
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
 * Makes the view that the store keeps of a model, unless it is there and complete.
 * @returns the path of the first shard
 */
export async function cacheView(
  layout: StorePaths,
  model: StoredModel,
  view: GgufView,
  verify: boolean,
): Promise<string> {
  const folder = folderOf(layout, model);
  const write = (): Promise<unknown> => writeView(folder, view.links, view.written, { linked: true });
  // Another process may make the same view at the same time: it is the same.
  if (!(await unlessThere(write))) {
    const found = await findCachedView(layout, model, verify);
    if (found !== undefined) return found;
    await rm(folder, { recursive: true, force: true });
    await unlessThere(write);
  }
  // What was written becomes what `findCachedView` takes only when it is on the disk.
  for (const { path } of view.written) await seal(join(folder, path), SEAL);
  for (const { path, blob } of view.links)
    if (look(join(folder, path))?.ino !== look(blob)?.ino) await seal(join(folder, path), COPIED);
  // The same model under another name has the same view, whose files are named after the other.
  return join(folder, firstOf(await readdir(folder).catch((): string[] => [])) ?? view.first);
}

function firstOf(names: readonly string[]): string | undefined {
  return names.find((name) => /-00001-of-\d{5}\.gguf$/.test(name));
}

/**
 * Does what fails where something is already.
 * @returns whether it was done
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

/** A view that cannot be sealed (another user's) serves as well; it is made again the next time. */
async function seal(path: string, time: number): Promise<void> {
  const handle = await open(path, "r").catch(() => undefined);
  try {
    await handle?.datasync();
    await handle?.utimes(time, time);
  } catch {
    // As above.
  } finally {
    await handle?.close();
  }
}

function look(path: string): Stats | undefined {
  return statSync(path, { throwIfNoEntry: false });
}
