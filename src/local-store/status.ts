import { lstat, readdir } from "node:fs/promises";
import { join } from "node:path";
import { TareError } from "../errors.ts";
import { unfinishedAdds } from "./move-journal.ts";
import { markBlobs } from "./mark-blobs.ts";
import { readTagged } from "../store/read-model.ts";
import type { LocalStore } from "./local-store.ts";

/** Disk use of a store. All sizes are in bytes. */
export interface StoreStatus {
  readonly root: string;
  readonly models: number;
  readonly blobs: number;
  /** Size of the blobs of all models. */
  readonly storedBytes: number;
  /** Size of the original files of all models. */
  readonly fileBytes: number;
  /** Size of the blobs that no model uses, which `gc` removes. */
  readonly unusedBytes: number;
  /** Size of cached compiled programs, which are made again on demand. */
  readonly cacheBytes: number;
  /** Size of cached prepacked weights, each with a copy of the weight; they are made again on demand. */
  readonly prepackedBytes: number;
  /** Size of cached folded weights, which are made again on demand. */
  readonly foldedBytes: number;
  /** Original paths of interrupted adds that freed parts of files: the same add resumes. */
  readonly unfinished: readonly string[];
}

/** Measures the disk use of a store. */
export async function storeStatus(store: LocalStore): Promise<StoreStatus> {
  const { paths } = store;
  const tags = await store.names.list();
  let fileBytes = 0;
  for (const tag of tags) {
    const model = await readTagged(store, tag).catch(ignoreDamage);
    for (const file of model?.config.files ?? []) fileBytes += file.size;
  }
  // If a manifest cannot be read, every blob may be in use.
  const needed = await markBlobs(paths).catch(ignoreDamage);
  const used = await folderSize(paths.blobs, (name) => needed?.has(`sha256:${name}`) ?? true);
  const all = await folderSize(paths.blobs);
  const prepacked = await folderSize(paths.prepacked);
  const folded = await folderSize(paths.folded);
  return {
    root: paths.root,
    models: tags.length,
    blobs: used.files,
    storedBytes: used.bytes,
    fileBytes,
    unusedBytes: all.bytes - used.bytes,
    cacheBytes: (await folderSize(paths.cache)).bytes - prepacked.bytes - folded.bytes,
    prepackedBytes: prepacked.bytes,
    foldedBytes: folded.bytes,
    unfinished: (await unfinishedAdds(paths)).map(({ path }) => path),
  };
}

function ignoreDamage(error: unknown): undefined {
  if (!(error instanceof TareError)) throw error;
}

async function folderSize(
  folder: string,
  counts: (name: string) => boolean = () => true,
): Promise<{ files: number; bytes: number }> {
  let files = 0;
  let bytes = 0;
  const entries = await readdir(folder, { withFileTypes: true, recursive: true }).catch(() => []);
  for (const entry of entries) {
    if (!entry.isFile() || !counts(entry.name)) continue;
    const stats = await lstat(join(entry.parentPath, entry.name)).catch(() => undefined);
    files++;
    bytes += stats?.size ?? 0;
  }
  return { files, bytes };
}
