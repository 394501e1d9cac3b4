import { createHash } from "node:crypto";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { SourceError } from "../errors.ts";
import type { Digest } from "../tensor/digest.ts";
import { writeFileAtomically } from "../node/atomic-write.ts";
import { readRegularFile } from "../node/open-regular-file.ts";
import type { LocalStore } from "./local-store.ts";
import { listOwn, makeOwnFolder, requireOwnFolders } from "./own-folders.ts";
import type { StorePaths } from "./store-paths.ts";

/** System errors of a folder in which a cache cannot be written. */
export const NOT_KEPT: readonly string[] = ["EROFS", "EACCES", "EPERM", "ENOSPC", "EDQUOT"];
/** Name of an entry: a key with the digest of a program, or with an engine; an unfinished one starts with a dot. */
const ENTRY = /[0-9a-f]{64}|^\.?onnxruntime-|^compiled-/;
/** Length of the sha256 at the start of each entry. */
const DIGEST_BYTES = 32;

/**
 * A cache of compiled programs, by key. An entry starts with the digest of its content: damaged or incomplete entries
 * are ignored. The folder may be deleted: programs are then compiled again.
 */
export class FileCompileCache {
  readonly #paths: StorePaths;

  constructor({ paths }: Pick<LocalStore, "paths">) {
    this.#paths = paths;
  }

  async get(key: string): Promise<Uint8Array | undefined> {
    const path = this.#path(key);
    const bytes = await readRegularFile(path).catch((error: unknown) => {
      if (error instanceof SourceError && error.code === "not-found") return undefined;
      throw error;
    });
    if (!bytes) return undefined;
    const content = new Uint8Array(
      bytes.buffer,
      bytes.byteOffset + DIGEST_BYTES,
      Math.max(0, bytes.byteLength - DIGEST_BYTES),
    );
    if (createHash("sha256").update(content).digest().equals(bytes.subarray(0, DIGEST_BYTES))) return content;
    await requireOwnFolders(this.#paths);
    await rm(path, { force: true }).catch(() => undefined);
    return undefined;
  }

  /** Writes an entry, except in a read-only store or on a full disk. */
  async put(key: string, bytes: Uint8Array): Promise<void> {
    const digest = createHash("sha256").update(bytes).digest();
    try {
      await makeOwnFolder(this.#paths.root, this.#paths.compiled);
      await writeFileAtomically(this.#path(key), Buffer.concat([digest, bytes]));
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (!NOT_KEPT.includes(code ?? "")) throw error;
    }
  }

  /**
   * Removes the entries of programs that are not in use.
   * @param needed blobs in use; the key of an entry contains the digest of its program
   * @returns number and size of the removed entries
   */
  async sweep(needed: ReadonlySet<Digest>): Promise<{ readonly entries: number; readonly bytes: number }> {
    let entries = 0;
    let bytes = 0;
    for (const { name, path, stats } of await listOwn(
      this.#paths.compiled,
      (each) => ENTRY.test(each),
      "file",
    )) {
      const [program] = /[0-9a-f]{64}/.exec(name) ?? [];
      if (program !== undefined && needed.has(`sha256:${program}`)) continue;
      entries++;
      bytes += stats.size;
      await rm(path, { force: true });
    }
    return { entries, bytes };
  }

  #path(key: string): string {
    return join(this.#paths.compiled, key);
  }
}
