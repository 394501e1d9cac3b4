import { type FileHandle, open, readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import type { FoldedFile } from "../model/folded-weight.ts";
import type { Digest } from "../tensor/digest.ts";
import type { LocalStore } from "./local-store.ts";
import type { StorePaths } from "./store-paths.ts";
import { appendRecord, readTail } from "./file-record.ts";
import { hashRange } from "./prepacked-file.ts";
import { makeSealed, readSealed, type SealedKind } from "./sealed-file.ts";

/** What a file of a derived weight says of itself, at its end. */
interface FoldedRecord {
  /** Of the weight, from the start of the file, in bytes. */
  readonly length: number;
  readonly sha256: string;
  /** Weights that it is derived from. */
  readonly operands: readonly Digest[];
}

/** Room for some 1700 operands. */
const MAX_RECORD_BYTES = 128 * 1024;

const KIND: SealedKind<FoldedRecord> = {
  record: readRecord,
  isSound: async (file, { length, sha256 }) => (await hashRange(file, 0, length)) === sha256,
};

/**
 * Weights that an engine derived from others of the store, a file each: the bytes, and a record of them. A file is sealed
 * like a blob: a file that was written since it was hashed is hashed again, and a damaged file is ignored.
 * Deleting the folder costs deriving, nothing else.
 */
export class FileFoldedCache {
  readonly #paths: StorePaths;

  constructor({ paths }: Pick<LocalStore, "paths">) {
    this.#paths = paths;
  }

  async get(key: string, options: { readonly full?: boolean } = {}): Promise<FoldedFile | undefined> {
    const record = await readSealed(this.#path(key), KIND, options.full);
    return record && { location: `cache/derived/${key}`, length: record.length };
  }

  /** Makes a file; in a store that may not be written, or on a full disk, it is simply not kept. */
  async make(
    key: string,
    operands: readonly Digest[],
    derive: (path: string) => Promise<string>,
  ): Promise<FoldedFile | undefined> {
    return makeSealed(this.#paths, this.#path(key), async (temporary) => {
      const sha256 = await derive(temporary);
      const file = await open(temporary, "r+");
      const finish = async (): Promise<FoldedFile> => {
        const { size: length } = await file.stat();
        const record: FoldedRecord = { length, sha256, operands };
        await appendRecord(file, length, record);
        return { location: `cache/derived/${key}`, length };
      };
      return { file, finish };
    });
  }

  /**
   * Drops files that nothing will ask for again.
   * @param weights in use; a file is kept while all that it is derived from is
   * @returns what was dropped
   */
  async sweep(weights: ReadonlySet<Digest>): Promise<{ readonly files: number; readonly bytes: number }> {
    let files = 0;
    let bytes = 0;
    for (const name of await readdir(this.#paths.folded).catch(() => [])) {
      const handle = await open(this.#path(name), "r").catch(() => undefined);
      if (!handle) continue;
      try {
        const record = await readRecord(handle);
        if (record?.operands.every((digest) => weights.has(digest))) continue;
        files++;
        bytes += (await handle.stat()).size;
      } finally {
        await handle.close();
      }
      await rm(this.#path(name), { force: true });
    }
    return { files, bytes };
  }

  #path(key: string): string {
    return join(this.#paths.folded, key);
  }
}

async function readRecord(file: FileHandle): Promise<FoldedRecord | undefined> {
  const { size } = await file.stat();
  const tail = await readTail(file, size, MAX_RECORD_BYTES);
  const record = tail?.record as FoldedRecord | undefined;
  return record?.length === tail?.start ? record : undefined;
}
