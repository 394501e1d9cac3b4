import { lstat, mkdir, readdir } from "node:fs/promises";
import type { Stats } from "node:fs";
import { join, relative, sep } from "node:path";
import { StoreError } from "../errors.ts";
import { isAbsent } from "../node/file-source.ts";
import type { StorePaths } from "./store-paths.ts";

/** An entry of a folder that tare made. */
export interface OwnEntry {
  readonly name: string;
  readonly path: string;
  /** Of the entry itself: links are not followed. */
  readonly stats: Stats;
}

/**
 * Checks that the folders of a store are folders, and no links: tare writes and deletes in them. Call it before each write.
 * Folders that do not exist are accepted.
 * @throws StoreError `unsafe-path`, which names the folder
 */
export async function requireOwnFolders(paths: StorePaths): Promise<void> {
  const { root, blobs, temporary, moving, views, cache, prepacked, folded, compiled } = paths;
  const all = [join(root, "blobs"), blobs, temporary, moving, views, cache, compiled, prepacked, folded];
  for (const folder of all) await requireOwnFolder(root, folder);
}

/**
 * Creates a folder below a root, level by level, without following links.
 * @throws StoreError `unsafe-path`; the system error of the folder that cannot be created
 */
export async function makeOwnFolder(root: string, folder: string): Promise<void> {
  let path = root;
  for (const name of relative(root, folder).split(sep)) {
    path = join(path, name);
    await mkdir(path).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== "EEXIST") throw error;
    });
    await requireOwnFolder(root, path);
  }
}

/**
 * Lists the entries of a folder that tare made, by name and kind. Does not follow links.
 * @param isOurs whether tare gives such names; also leaves out entries that the caller does not want
 */
export async function listOwn(
  folder: string,
  isOurs: (name: string) => boolean,
  kind: "file" | "folder",
): Promise<OwnEntry[]> {
  const names = await readdir(folder).catch((error: unknown): string[] => {
    if (isAbsent(error)) return [];
    throw error;
  });
  const entries: OwnEntry[] = [];
  for (const name of names.filter(isOurs)) {
    const path = join(folder, name);
    const stats = await lstat(path).catch((error: unknown) => {
      if (!isAbsent(error)) throw error;
    });
    if (stats && (kind === "file" ? stats.isFile() : stats.isDirectory()))
      entries.push({ name, path, stats });
  }
  return entries;
}

async function requireOwnFolder(root: string, path: string): Promise<void> {
  const stats = await lstat(path).catch((error: unknown) => {
    if (!isAbsent(error)) throw error;
  });
  if (!stats || stats.isDirectory()) return;
  const what = stats.isSymbolicLink() ? "a link" : "no folder";
  throw new StoreError("unsafe-path", `Cannot write in "${root}": "${relative(root, path)}" is ${what}`, {
    path,
    hint: "Put a folder in its place; to keep a store elsewhere, name its folder with --store or TARE_STORE",
  });
}
