import { join } from "node:path";
import type { ReadOptions } from "../io/byte-source.ts";
import { syncFolder } from "../node/atomic-write.ts";
import type { BlobRef, Blobs, BlobSource, HasOptions, Lease, StagedBlob } from "../store/store.ts";
import type { Digest } from "../tensor/digest.ts";
import { discard } from "./discard.ts";
import { openLease, sweepLeases } from "./lease.ts";
import { requireOwnFolders } from "./own-folders.ts";
import { openBlob } from "./open-blob.ts";
import { isWhole } from "./seal.ts";
import { stageFile } from "./stage-file.ts";
import type { StorePaths } from "./store-paths.ts";
import { withSystemErrors } from "./system-errors.ts";

/** A lease with a folder for files of its owner. */
export interface LocalLease extends Lease {
  /** Absolute path. The folder is removed when the lease ends, or by the next writer if its owner dies. */
  readonly folder: string;
}

/** The blobs of a store's folder, each a read-only file. */
export class LocalBlobs implements Blobs {
  readonly #paths: StorePaths;

  constructor(paths: StorePaths) {
    this.#paths = paths;
  }

  has(blob: BlobRef, options?: HasOptions): Promise<boolean> {
    return isWhole(this.#paths, blob, options);
  }

  open(digest: Digest): Promise<BlobSource> {
    return openBlob(this.#paths, digest);
  }

  async stage(chunks: AsyncIterable<Uint8Array>, options: ReadOptions = {}): Promise<StagedBlob> {
    await requireOwnFolders(this.#paths);
    const lease = await withSystemErrors(this.#paths.root, () => openLease(this.#paths));
    try {
      const path = join(lease.folder, "blob");
      const staged = await stageFile(path, (digest) => this.#paths.blob(digest), chunks, options);
      return { ...staged, [Symbol.asyncDispose]: () => lease[Symbol.asyncDispose]() };
    } catch (error) {
      await lease[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** Removes the leases of dead writers, then opens a lease. */
  async lease(): Promise<LocalLease> {
    const paths = this.#paths;
    return withSystemErrors(paths.root, async () => {
      await requireOwnFolders(paths);
      await sweepLeases(paths);
      const lease = await openLease(paths);
      return {
        folder: lease.folder,
        sync: () => withSystemErrors(paths.root, () => syncFolder(paths.blobs)),
        discard: (digests) => withSystemErrors(paths.root, () => discard(paths, digests)),
        [Symbol.asyncDispose]: () => lease[Symbol.asyncDispose](),
      };
    });
  }
}
