import { constants } from "node:fs";
import { chmod, copyFile, type FileHandle, mkdir, open, readdir, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import type { Digest } from "../../model/digest.ts";
import type { Binding } from "../../model/link-plan.ts";
import type { PackedFile, PackedParts } from "../../model/packed-weight.ts";
import { isAbsent } from "../file-source.ts";
import { seal } from "./blobs.ts";
import { NOT_KEPT } from "./compile-cache.ts";
import type { StoreLayout } from "./layout.ts";
import { openLease } from "./lease.ts";
import { copyRange, isSound, readRecord, writePacked } from "./packed-file.ts";
import { placeSync, SEAL } from "./place.ts";

/**
 * Weights of a store as an engine packed them, a file each: the weight, its packed copies, and a record of both. A file
 * is sealed like a blob: one that was written since it was hashed is hashed again, and one that is damaged is as good
 * as none. Deleting the folder costs packing, nothing else.
 */
export class FilePackedCache {
  readonly #layout: StoreLayout;

  constructor(layout: StoreLayout) {
    this.#layout = layout;
  }

  async get(key: string, options: { readonly full?: boolean } = {}): Promise<PackedFile | undefined> {
    const path = this.#path(key);
    const handle = await open(path, "r").catch((error: unknown) => {
      if (isAbsent(error)) return undefined;
      throw error;
    });
    if (!handle) return undefined;
    try {
      const { size, mtimeMs } = await handle.stat();
      const record = await readRecord(handle, size);
      const sealed = mtimeMs === SEAL * 1000 && !options.full;
      if (record && (sealed || (await isSound(handle, record, key.slice(0, 64))))) {
        if (!sealed) await seal(path).catch(() => undefined);
        return { location: this.#location(key), entries: record.entries };
      }
    } finally {
      await handle.close();
    }
    await rm(path, { force: true }).catch(() => undefined);
    return undefined;
  }

  /** Makes a file; in a store that may not be written, or on a full disk, it is simply not kept. */
  async make(
    key: string,
    weight: Binding,
    pack: (folder: string) => Promise<PackedParts>,
  ): Promise<PackedFile | undefined> {
    try {
      await mkdir(this.#layout.packed, { recursive: true });
      await using lease = await openLease(this.#layout);
      const parts = await pack(lease.folder);
      const temporary = join(lease.folder, "file");
      const packs = parts.entries.length > 0;
      const handle = await (packs ? this.#writeWeight(temporary, weight) : open(temporary, "wx", 0o600));
      try {
        const record = await writePacked(handle, packs ? weight.length : 0, parts);
        // Here, where it blocks nobody: what is left to place is quick.
        await handle.datasync();
        placeSync(handle.fd, temporary, this.#path(key));
        return { location: this.#location(key), entries: record.entries };
      } finally {
        await handle.close();
      }
    } catch (error) {
      if (NOT_KEPT.includes((error as NodeJS.ErrnoException).code ?? "")) return undefined;
      throw error;
    }
  }

  /**
   * Drops files that nothing will ask for again.
   * @param weights in use; a file's key begins with the digest of its weight
   * @returns what was dropped
   */
  async sweep(weights: ReadonlySet<Digest>): Promise<{ readonly files: number; readonly bytes: number }> {
    let files = 0;
    let bytes = 0;
    for (const name of await readdir(this.#layout.packed).catch(() => [])) {
      if (weights.has(`sha256:${name.slice(0, 64)}`)) continue;
      files++;
      bytes += (await stat(this.#path(name)).catch(() => undefined))?.size ?? 0;
      await rm(this.#path(name), { force: true });
    }
    return { files, bytes };
  }

  /** Starts a file with a weight; by reflink where that is possible, which takes no space. */
  async #writeWeight(path: string, weight: Binding): Promise<FileHandle> {
    const source = join(this.#layout.root, weight.location);
    if (weight.offset === 0 && (await stat(source)).size === weight.length) {
      const cloned = await copyFile(source, path, constants.COPYFILE_FICLONE_FORCE).then(
        () => true,
        () => false,
      );
      if (cloned) {
        await chmod(path, 0o600);
        return open(path, "r+");
      }
      await rm(path, { force: true });
    }
    const [from, to] = [await open(source, "r"), await open(path, "wx", 0o600)];
    try {
      await copyRange(from, source, weight, to);
      return to;
    } catch (error) {
      await to.close();
      throw error;
    } finally {
      await from.close();
    }
  }

  #path(key: string): string {
    return join(this.#layout.packed, key);
  }

  #location(key: string): string {
    return `cache/packed/${key}`;
  }
}
