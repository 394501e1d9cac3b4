import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { unfinishedAdds } from "./move-journal.ts";
import { markBlobs } from "./mark-blobs.ts";
import { readTagged } from "../store/read-model.ts";
import type { LocalStore } from "./local-store.ts";

/** A store's disk use. All sizes in bytes. */
export interface StoreStatus {
  readonly root: string;
  readonly models: number;
  readonly blobs: number;
  /** What the models take in the store. */
  readonly storedBytes: number;
  /** What they would take as separate files. */
  readonly fileBytes: number;
  /** What no model needs: `gc` frees it. */
  readonly unusedBytes: number;
  /** Compiled programs: made again when needed. */
  readonly cacheBytes: number;
  /** Weights as an engine packed them, each behind a second copy of the weight: made again when needed. */
  readonly prepackedBytes: number;
  /** Weights that an engine derived from others, which are there as well: made again when needed. */
  readonly foldedBytes: number;
  /** Files whose adding ended early after parts of them were freed, by their original paths: the same add continues. */
  readonly unfinished: readonly string[];
}

/** Adds up what a store holds. */
export async function storeStatus(store: LocalStore): Promise<StoreStatus> {
  const { paths } = store;
  const tags = await store.names.list();
  let fileBytes = 0;
  for (const tag of tags) {
    const { config } = await readTagged(store, tag);
    for (const file of config.files) fileBytes += file.size;
  }
  const needed = await markBlobs(paths);
  const used = await folderSize(paths.blobs, (name) => needed.has(`sha256:${name}`));
  const all = await folderSize(paths.blobs);
  const packed = await folderSize(paths.prepacked);
  const derived = await folderSize(paths.folded);
  return {
    root: paths.root,
    models: tags.length,
    blobs: used.files,
    storedBytes: used.bytes,
    fileBytes,
    unusedBytes: all.bytes - used.bytes,
    cacheBytes: (await folderSize(paths.cache)).bytes - packed.bytes - derived.bytes,
    prepackedBytes: packed.bytes,
    foldedBytes: derived.bytes,
    unfinished: (await unfinishedAdds(paths)).map(({ path }) => path),
  };
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
    const stats = await stat(join(entry.parentPath, entry.name)).catch(() => undefined);
    files++;
    bytes += stats?.size ?? 0;
  }
  return { files, bytes };
}
