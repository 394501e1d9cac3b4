import { type FileHandle, open, rm } from "node:fs/promises";
import { join } from "node:path";
import type { FoldedFile } from "../model/folded-weight.ts";
import type { Digest } from "../tensor/digest.ts";
import type { LocalStore } from "./local-store.ts";
import { listOwn } from "./own-folders.ts";
import type { StorePaths } from "./store-paths.ts";
import { appendRecord, readTail } from "./file-record.ts";
import { hashRange } from "./prepacked-file.ts";
import { makeSealed, readSealed, type SealedKind } from "./sealed-file.ts";

/** Record at the end of a file with a folded weight. */
interface FoldedRecord {
  /** Length of the weight at the start of the file, in bytes. */
  readonly length: number;
  /** sha256 of the weight, in hexadecimal. */
  readonly sha256: string;
  /** Digests of the weights that it is computed from. */
  readonly operands: readonly Digest[];
}

/** Name of a file. */
const KEY = /^[0-9a-f]{64}$/;

/** Size limit of a record: about 1700 operands. */
const MAX_RECORD_BYTES = 128 * 1024;

const KIND: SealedKind<FoldedRecord> = {
  record: readRecord,
  isSound: async (file, { length, sha256 }) => (await hashRange(file, 0, length)) === sha256,
};

/**
 * A cache of folded weights, which an engine computed from weights of the store. Each file has the weight and a record,
 * and is sealed like a blob: a file that was written since it was hashed is hashed again, and a damaged file is
 * ignored. The folder may be deleted: weights are then folded again.
 */
export class FileFoldedCache {
  readonly #paths: StorePaths;

  constructor({ paths }: Pick<LocalStore, "paths">) {
    this.#paths = paths;
  }

  async get(key: string, options: { readonly full?: boolean } = {}): Promise<FoldedFile | undefined> {
    const record = await readSealed(this.#paths, this.#path(key), KIND, options.full);
    return record && { location: `cache/derived/${key}`, length: record.length };
  }

  /**
   * Makes the file of a folded weight.
   * @param fold writes the weight to a path, and returns its sha256 in hexadecimal
   * @returns `undefined` in a read-only store or on a full disk
   */
  async make(
    key: string,
    operands: readonly Digest[],
    fold: (path: string) => Promise<string>,
  ): Promise<FoldedFile | undefined> {
    return makeSealed(this.#paths, this.#path(key), async (temporary) => {
      const sha256 = await fold(temporary);
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
   * Removes the files of weights whose operands are not all in use.
   * @param weights digests of the weights in use
   * @returns number and size of the removed files
   */
  async sweep(weights: ReadonlySet<Digest>): Promise<{ readonly files: number; readonly bytes: number }> {
    let files = 0;
    let bytes = 0;
    for (const { path } of await listOwn(this.#paths.folded, (each) => KEY.test(each), "file")) {
      const handle = await open(path, "r").catch(() => undefined);
      if (!handle) continue;
      try {
        const record = await readRecord(handle);
        if (record?.operands.every((digest) => weights.has(digest))) continue;
        files++;
        bytes += (await handle.stat()).size;
      } finally {
        await handle.close();
      }
      await rm(path, { force: true });
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
