import { createHash } from "node:crypto";
import { mkdir, readdir, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { writeDurable } from "../durable.ts";
import { isAbsent } from "../file-source.ts";
import type { StoreLayout } from "./layout.ts";

/** Bytes of the sha256 that goes before each entry. */
const DIGEST_BYTES = 32;

/**
 * Compiled programs of a store, by key. An entry carries its own digest: a damaged or half-copied one is as good as
 * none. Deleting the folder costs a compilation, nothing else.
 */
export class FileCompileCache {
  readonly #folder: string;

  constructor(layout: StoreLayout) {
    this.#folder = join(layout.cache, "compiled");
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

  /** Keeps an entry; in a store that may not be written it is simply not kept. */
  async put(key: string, bytes: Uint8Array): Promise<void> {
    const digest = createHash("sha256").update(bytes).digest();
    try {
      await mkdir(this.#folder, { recursive: true });
      await writeDurable(this.#path(key), Buffer.concat([digest, bytes]));
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code !== "EROFS" && code !== "EACCES" && code !== "EPERM") throw error;
    }
  }

  /** Drops every entry. @returns bytes freed */
  async clear(): Promise<void> {
    for (const name of await readdir(this.#folder).catch(() => []))
      await rm(join(this.#folder, name), { force: true });
  }

  #path(key: string): string {
    return join(this.#folder, key);
  }
}
