import { constants } from "node:fs";
import { chmod, copyFile, type FileHandle, open, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import type { Digest } from "../tensor/digest.ts";
import type { Binding } from "../model/link-plan.ts";
import type { PrepackedFile, PrepackedParts } from "../model/prepacked-weight.ts";
import type { LocalStore } from "./local-store.ts";
import { listOwn } from "./own-folders.ts";
import type { StorePaths } from "./store-paths.ts";
import { copyRange, isSound, type PrepackedRecord, readRecord, writePrepacked } from "./prepacked-file.ts";
import { makeSealed, readSealed } from "./sealed-file.ts";

/** Name of a file: digest of the weight, and what its bytes depend on. */
const KEY = /^[0-9a-f]{64}-[0-9a-f]{32}$/;

/**
 * A cache of prepacked weights. Each file has a weight, copies that an engine prepacked, and a record. It is sealed
 * like a blob: a file that was written since it was hashed is hashed again, and a damaged file is ignored. The folder
 * may be deleted: weights are then prepacked again.
 */
export class FilePrepackedCache {
  readonly #paths: StorePaths;

  constructor({ paths }: Pick<LocalStore, "paths">) {
    this.#paths = paths;
  }

  async get(key: string, options: { readonly full?: boolean } = {}): Promise<PrepackedFile | undefined> {
    const kind = {
      record: async (file: FileHandle) => readRecord(file, (await file.stat()).size),
      isSound: (file: FileHandle, record: PrepackedRecord) => isSound(file, record, key.slice(0, 64)),
    };
    const record = await readSealed(this.#paths, this.#path(key), kind, options.full);
    return record && { location: this.#location(key), entries: record.entries };
  }

  /**
   * Makes the file of a prepacked weight.
   * @param prepack writes the prepacked copies to a file in a folder
   * @returns `undefined` in a read-only store or on a full disk
   */
  async make(
    key: string,
    weight: Binding,
    prepack: (folder: string) => Promise<PrepackedParts>,
  ): Promise<PrepackedFile | undefined> {
    const record = await makeSealed(this.#paths, this.#path(key), async (temporary, folder) => {
      const parts = await prepack(folder);
      const hasCopies = parts.entries.length > 0;
      const file = await (hasCopies ? this.#writeWeight(temporary, weight) : open(temporary, "wx", 0o600));
      return { file, finish: () => writePrepacked(file, hasCopies ? weight.length : 0, parts) };
    });
    return record && { location: this.#location(key), entries: record.entries };
  }

  /**
   * Removes the files of weights that are not in use.
   * @param weights digests of the weights in use; the key of a file starts with the digest of its weight
   * @returns number and size of the removed files
   */
  async sweep(weights: ReadonlySet<Digest>): Promise<{ readonly files: number; readonly bytes: number }> {
    let files = 0;
    let bytes = 0;
    for (const { name, path, stats } of await listOwn(
      this.#paths.prepacked,
      (each) => KEY.test(each),
      "file",
    )) {
      if (weights.has(`sha256:${name.slice(0, 64)}`)) continue;
      files++;
      bytes += stats.size;
      await rm(path, { force: true });
    }
    return { files, bytes };
  }

  /** Creates a file that starts with a weight; a reflink, which takes no space, if the file system supports it. */
  async #writeWeight(path: string, weight: Binding): Promise<FileHandle> {
    const source = join(this.#paths.root, weight.location);
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
    return join(this.#paths.prepacked, key);
  }

  #location(key: string): string {
    return `cache/packed/${key}`;
  }
}
