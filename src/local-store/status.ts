import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { unfinishedAdds } from "./move-journal.ts";
import { markBlobs } from "./gc.ts";
import { listTags } from "./tags.ts";
import type { StorePaths } from "./store-paths.ts";
import { readStoredModel } from "./read-model.ts";

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
  /** Files whose adding ended early after parts of them were freed, as they were called: the same add goes on. */
  readonly unfinished: readonly string[];
}

/** Adds up what a store holds. */
export async function storeStatus(layout: StorePaths): Promise<StoreStatus> {
  const tags = await listTags(layout);
  let fileBytes = 0;
  for (const { name, digest } of tags) {
    const { config } = await readStoredModel(layout, name, digest);
    for (const file of config.files) fileBytes += file.size;
  }
  const needed = await markBlobs(layout);
  const used = await folderSize(layout.blobs, (name) => needed.has(`sha256:${name}`));
  const all = await folderSize(layout.blobs);
  const packed = await folderSize(layout.prepacked);
  const derived = await folderSize(layout.folded);
  return {
    root: layout.root,
    models: tags.length,
    blobs: used.files,
    storedBytes: used.bytes,
    fileBytes,
    unusedBytes: all.bytes - used.bytes,
    cacheBytes: (await folderSize(layout.cache)).bytes - packed.bytes - derived.bytes,
    prepackedBytes: packed.bytes,
    foldedBytes: derived.bytes,
    unfinished: (await unfinishedAdds(layout)).map(({ path }) => path),
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
