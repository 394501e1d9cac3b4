import { type FileHandle, mkdir, open, rm, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { StoreError } from "../errors.ts";
import { type Digest, digestHex } from "../tensor/digest.ts";
import type { BlobSink, StagedBlob } from "../store/blob-sink.ts";
import { syncFolder } from "../node/atomic-write.ts";
import { fileError, isAbsent, openFileSource } from "../node/file-source.ts";
import { openLease, sweepLeases } from "./lease.ts";
import { commitBlobSync } from "./commit-blob.ts";

/** A sink in a folder. Dispose it when the last blob is in: its names are then durable too. */
export interface FolderSink extends BlobSink, AsyncDisposable {
  /** Absolute. */
  readonly path: string;
}

/**
 * Keeps blobs in a folder, each a read-only file under `sha256/`, as bytes come: memory is bounded by their pieces.
 * Unfinished files lie in `tmp/`, and those that killed processes left there are removed.
 * @throws SourceError `io`, `disk-full`
 */
export async function openFolderSink(path: string): Promise<FolderSink> {
  const root = resolve(path);
  const blobs = join(root, "sha256");
  const temporary = join(root, "tmp");
  const lease = await prepare(root, blobs, temporary);
  let count = 0;
  return {
    path: root,
    async stage(chunks) {
      return await stage(join(lease.folder, String(count++)), blobs, chunks);
    },
    async openBlob(digest) {
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
      await syncFolder(blobs);
    },
  };
}

async function prepare(root: string, blobs: string, temporary: string): ReturnType<typeof openLease> {
  try {
    await mkdir(blobs, { recursive: true });
    await sweepLeases({ temporary });
    return await openLease({ temporary });
  } catch (cause) {
    throw fileError(root, "make", cause);
  }
}

/** Writes the bytes to a file that only its owner knows. */
async function stage(
  temporary: string,
  blobs: string,
  chunks: AsyncIterable<Uint8Array>,
): Promise<StagedBlob> {
  const drop = (): Promise<void> => rm(temporary, { force: true });
  let handle: FileHandle | undefined;
  try {
    handle = await open(temporary, "wx", 0o600);
    await writeFile(handle, chunks);
    // Here and not in placeSync, which would block the thread for as long as a disk takes.
    await handle.datasync();
    await handle.close();
  } catch (error) {
    await handle?.close();
    await drop();
    throw errorOf(temporary, error);
  }
  return {
    async commit(digest: Digest) {
      const staged = await open(temporary, "r+").catch((cause: unknown) => {
        throw fileError(temporary, "open", cause);
      });
      try {
        commitBlobSync(staged.fd, temporary, join(blobs, digestHex(digest)));
      } catch (error) {
        throw errorOf(temporary, error);
      } finally {
        await staged.close();
      }
    },
    [Symbol.asyncDispose]: drop,
  };
}

/** Errors of the system get a type; those of whoever makes the bytes stay as they are. */
function errorOf(path: string, error: unknown): unknown {
  return error instanceof Error && "syscall" in error ? fileError(path, "write", error) : error;
}
