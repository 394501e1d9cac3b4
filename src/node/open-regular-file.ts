import { constants, type Stats } from "node:fs";
import { type FileHandle, open, stat } from "node:fs/promises";
import { SourceError } from "../errors.ts";
import { fileError } from "./file-error.ts";

/** Flags to read without waiting for the writer of a named pipe, should one take the place of a file. 0 on Windows. */
const READ_FLAGS = constants.O_RDONLY | (constants.O_NONBLOCK ?? 0);

/** A regular file that is open for reading. */
export interface RegularFile {
  readonly handle: FileHandle;
  readonly stats: Stats;
}

/**
 * Opens a regular file for reading. Opens no folder, named pipe, socket or device: opening one may wait or have effects.
 * @throws SourceError `not-found`, `io`
 */
export async function openRegularFile(path: string): Promise<RegularFile> {
  let handle: FileHandle | undefined;
  try {
    requireRegular(path, await stat(path));
    handle = await open(path, READ_FLAGS);
    const stats = await handle.stat();
    requireRegular(path, stats);
    return { handle, stats };
  } catch (cause) {
    await handle?.close();
    throw cause instanceof SourceError ? cause : fileError(path, "open", cause);
  }
}

/**
 * Reads a regular file completely.
 * @throws SourceError `not-found`, `io`
 */
export async function readRegularFile(path: string): Promise<Buffer> {
  const { handle } = await openRegularFile(path);
  try {
    return await handle.readFile();
  } catch (cause) {
    throw fileError(path, "read", cause);
  } finally {
    await handle.close();
  }
}

/** @throws SourceError `io`, which says what it is instead */
export function requireRegular(path: string, stats: Stats): void {
  if (stats.isFile()) return;
  throw new SourceError("io", `Cannot read "${path}": it is ${kindOf(stats)}, not a file`, { path });
}

function kindOf(stats: Stats): string {
  if (stats.isDirectory()) return "a folder";
  if (stats.isFIFO()) return "a named pipe";
  if (stats.isSocket()) return "a socket";
  return "a device";
}
