import { rmdir } from "node:fs/promises";
import { join, resolve } from "node:path";
import { StoreError } from "../errors.ts";
import { digestHex } from "../tensor/digest.ts";
import type { BlobSink } from "../store/store.ts";
import { syncFolder } from "../node/atomic-write.ts";
import { fileError, isAbsent, openFileSource } from "../node/file-source.ts";
import { makeFolder } from "../node/make-folder.ts";
import { makeOwnFolder } from "./own-folders.ts";
import { openLease, sweepLeases } from "./lease.ts";
import { stageFile } from "./stage-file.ts";

/** A sink in a folder. Dispose it after the last commit, which makes the names of the blobs durable. */
export interface FolderSink extends BlobSink, AsyncDisposable {
  /** Absolute path. */
  readonly path: string;
}

/**
 * Opens a sink that streams blobs into a folder, each a read-only file in `sha256/`. Unfinished files are in a
 * hidden folder, which ends with the sink; those of dead processes are removed.
 * @throws SourceError `io`, `disk-full`; StoreError `unsafe-path` if one of these folders is a link
 */
export async function openFolderSink(path: string): Promise<FolderSink> {
  const root = resolve(path);
  const blobs = join(root, "sha256");
  const temporary = join(root, ".tare-unfinished");
  const lease = await prepare(root, blobs, temporary);
  let count = 0;
  return {
    path: root,
    async stage(chunks, options) {
      const path = join(lease.folder, String(count++));
      return stageFile(path, (digest) => join(blobs, digestHex(digest)), chunks, options);
    },
    async open(digest) {
      const blob = join(blobs, digestHex(digest));
      try {
        return await openFileSource(blob);
      } catch (cause) {
        if (!(cause instanceof Error && isAbsent(cause.cause))) throw cause;
        throw new StoreError("missing-blob", `Cannot find blob ${digest} in "${root}"`, {
          path: blob,
          digest,
          cause,
        });
      }
    },
    async [Symbol.asyncDispose]() {
      await lease[Symbol.asyncDispose]();
      // This fails, and the folder stays, while another sink uses it.
      await rmdir(temporary).catch(() => undefined);
      await syncFolder(blobs);
    },
  };
}

async function prepare(root: string, blobs: string, temporary: string): ReturnType<typeof openLease> {
  try {
    await makeFolder(root);
    await makeOwnFolder(root, blobs);
    await makeOwnFolder(root, temporary);
    await sweepLeases({ temporary });
    return await openLease({ temporary });
  } catch (cause) {
    throw cause instanceof StoreError ? cause : fileError(root, "create", cause);
  }
}
