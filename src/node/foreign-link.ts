import { lstat, realpath } from "node:fs/promises";
import { dirname, isAbsolute, join, relative, sep } from "node:path";
import { SourceError } from "../errors.ts";

/**
 * Says where an entry of a model's folder leads if it is a link that tare does not follow: it leads out of the folder. In the
 * Hugging Face cache, links of `snapshots/REVISION` into `blobs` of the same repository are followed.
 * @returns what it is, for a message; `undefined` for a file, and for a link that is followed
 */
export async function foreignLink(folder: string, name: string): Promise<string | undefined> {
  const path = join(folder, name);
  const stats = await lstat(path).catch(() => undefined);
  if (!stats?.isSymbolicLink()) return undefined;
  const target = await realpath(path).catch(() => undefined);
  if (target === undefined) return "a link to no file";
  const home = await realpath(folder);
  const blobs = snapshotBlobs(home);
  if (isInside(home, target) || (blobs !== undefined && isInside(blobs, target))) return undefined;
  return `a link to "${target}", outside of the folder`;
}

/**
 * Checks the models that were found in a folder. A link that the caller names is not checked.
 * @throws SourceError `unsafe-path`
 */
export async function requireOwnFiles(folder: string, names: readonly string[]): Promise<void> {
  for (const name of names) {
    const link = await foreignLink(folder, name);
    if (link === undefined) continue;
    const path = join(folder, name);
    if (await isSplitFile(folder, path)) continue;
    throw new SourceError("unsafe-path", `Cannot read "${path}": it is ${link}`, {
      path,
      hint: "Name the file itself instead of its folder, if you trust the link",
    });
  }
}

/** Whether a link leads to a file of the folder above, which has the record of a split: `tare split` writes such links. */
async function isSplitFile(folder: string, path: string): Promise<boolean> {
  const target = await realpath(path).catch(() => undefined);
  const above = dirname(await realpath(folder));
  if (target === undefined || dirname(target) !== above) return false;
  return (await lstat(join(above, "split.json")).catch(() => undefined))?.isFile() === true;
}

/** Whether a path is below a folder. Both are real paths. */
export function isInside(folder: string, path: string): boolean {
  const way = relative(folder, path);
  return way !== "" && way !== ".." && !way.startsWith(`..${sep}`) && !isAbsolute(way);
}

/** The folder of blobs of the repository whose snapshot a folder is, or is in: `models--X/snapshots/REVISION`. */
function snapshotBlobs(home: string): string | undefined {
  for (let at = home; dirname(at) !== at; at = dirname(at)) {
    const parent = dirname(at);
    if (parent.endsWith(`${sep}snapshots`)) return join(dirname(parent), "blobs");
  }
  return undefined;
}
