import { stat } from "node:fs/promises";
import type { Stats } from "node:fs";
import { resolve } from "node:path";
import { type ByteSource, checkRange, type LocalFile, type ReadOptions } from "../io/byte-source.ts";
import { SourceError } from "../errors.ts";
import { fileError, isAbsent } from "./file-error.ts";
import { openRegularFile } from "./open-regular-file.ts";

export { fileError, isAbsent } from "./file-error.ts";

/** Facts from `stat` that change if a file is replaced or written. */
export interface FileIdentity {
  readonly device: number;
  readonly inode: number;
  /** Size in bytes. */
  readonly size: number;
  /** Modification time, in milliseconds. */
  readonly modified: number;
}

/** Takes a file's identity from `stat`. */
export function identityOf(stats: Stats): FileIdentity {
  return { device: stats.dev, inode: stats.ino, size: stats.size, modified: stats.mtimeMs };
}

/** Whether two identities are of the same unchanged file. */
export function sameIdentity(a: FileIdentity, b: FileIdentity): boolean {
  return a.device === b.device && a.inode === b.inode && a.size === b.size && a.modified === b.modified;
}

/** A file that is open for reading. Dispose it to close the file. */
export interface FileSource extends ByteSource, AsyncDisposable {
  /** The identity when the file was opened. */
  readonly identity: FileIdentity;
  readonly file: LocalFile;
}

/** Bytes per system call, which reads less than 2 GiB. */
const MAX_READ_LENGTH = 1024 * 1024 * 1024;

/**
 * Opens a regular file.
 * @throws SourceError `not-found`, `io` (a folder, a named pipe, a device, no permission)
 */
export async function openFileSource(path: string): Promise<FileSource> {
  const { handle, stats } = await openRegularFile(path);
  const identity = identityOf(stats);
  const full = resolve(path);
  const readInto = async (target: Uint8Array, offset: number, options?: ReadOptions): Promise<void> => {
    options?.signal?.throwIfAborted();
    const { byteLength: length } = target;
    checkRange(source, offset, length);
    for (let filled = 0; filled < length; ) {
      const { bytesRead } = await handle
        .read(target, filled, Math.min(length - filled, MAX_READ_LENGTH), offset + filled)
        .catch((cause: unknown) => {
          throw fileError(path, "read", cause);
        });
      if (bytesRead === 0) {
        throw new SourceError(
          "short-read",
          `Cannot read "${path}" at ${offset + filled}: it became shorter`,
          {
            path,
            offset: offset + filled,
          },
        );
      }
      filled += bytesRead;
    }
  };
  const source: FileSource = {
    name: path,
    size: stats.size,
    identity,
    file: { path: full, offset: 0, requireUnchanged: () => requireUnchanged(full, identity) },
    async read(offset, length, options) {
      checkRange(source, offset, length);
      const bytes = new Uint8Array(length);
      await readInto(bytes, offset, options);
      return bytes;
    },
    readInto,
    async [Symbol.asyncDispose]() {
      await handle.close();
    },
  };
  return source;
}

async function requireUnchanged(path: string, identity: FileIdentity): Promise<void> {
  const stats = await stat(path).catch((cause: unknown) => {
    if (isAbsent(cause)) return undefined;
    throw fileError(path, "check", cause);
  });
  if (stats && sameIdentity(identityOf(stats), identity)) return;
  const how = !stats ? "is gone" : stats.ino === identity.inode ? "was written to" : "was replaced";
  throw new SourceError("source-changed", `Cannot use "${path}": it ${how} since it was opened`, {
    path,
    hint: "Open the file again",
  });
}
