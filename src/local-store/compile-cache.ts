import { createHash } from "node:crypto";
import { mkdir, readdir, readFile, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import type { Digest } from "../tensor/digest.ts";
import { writeFileAtomically } from "../node/atomic-write.ts";
import { isAbsent } from "../node/file-source.ts";
import type { LocalStore } from "./local-store.ts";

/** System errors of a folder in which a cache cannot be written. */
export const NOT_KEPT: readonly string[] = ["EROFS", "EACCES", "EPERM", "ENOSPC", "EDQUOT"];
/** Length of the sha256 at the start of each entry. */
const DIGEST_BYTES = 32;

/**
 * A cache of compiled programs, by key. An entry starts with the digest of its content: damaged or incomplete entries
 * are ignored. The folder may be deleted: programs are then compiled again.
 */
export class FileCompileCache {
  readonly #folder: string;

  constructor({ paths }: Pick<LocalStore, "paths">) {
    this.#folder = join(paths.cache, "compiled");
  }

  async get(key: string): Promise<Uint8Array | undefined> {
    const path = this.#path(key);
    const bytes = await readFile(path).catch((error: unknown) => {
      if (isAbsent(error)) return undefined;
      throw error;
    });
    if (!bytes) return undefined;
    const content = new Uint8Array(
      bytes.buffer,
      bytes.byteOffset + DIGEST_BYTES,
      Math.max(0, bytes.byteLength - DIGEST_BYTES),
    );
    if (createHash("sha256").update(content).digest().equals(bytes.subarray(0, DIGEST_BYTES))) return content;
    await rm(path, { force: true }).catch(() => undefined);
    return undefined;
  }

  /** Writes an entry, except in a read-only store or on a full disk. */
  async put(key: string, bytes: Uint8Array): Promise<void> {
    const digest = createHash("sha256").update(bytes).digest();
    try {
      await mkdir(this.#folder, { recursive: true });
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
    for (const name of await readdir(this.#folder).catch(() => [])) {
      const [program] = /[0-9a-f]{64}/.exec(name) ?? [];
      if (program !== undefined && needed.has(`sha256:${program}`)) continue;
      entries++;
      bytes += (await stat(this.#path(name)).catch(() => undefined))?.size ?? 0;
      await rm(this.#path(name), { force: true });
    }
    return { entries, bytes };
  }

  #path(key: string): string {
    return join(this.#folder, key);
  }
}
