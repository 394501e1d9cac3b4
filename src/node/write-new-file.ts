import { open, stat } from "node:fs/promises";
import { resolve } from "node:path";
import { SourceError } from "../errors.ts";
import { writeAtomically } from "./atomic-write.ts";
import { type FileChunk, writeChunks } from "./write-chunks.ts";

/** Options of {@link writeNewFile}. */
export interface WriteNewOptions {
  readonly signal?: AbortSignal | undefined;
  /** Called with the bytes that each chunk appended. */
  readonly onBytes?: ((bytes: number) => void) | undefined;
}

/**
 * Checks that a path does not exist.
 * @throws SourceError `exists`
 */
export async function requireNoFile(path: string): Promise<void> {
  if (!(await stat(path).catch(() => undefined))) return;
  throw new SourceError("exists", `Cannot write "${path}": it exists already`, {
    path,
    hint: "Choose another path, or remove the file first",
  });
}

/**
 * Writes a new file atomically and durably.
 * @returns the file's size in bytes
 * @throws SourceError `exists`, `disk-full`, `io`; the errors of `chunks`
 */
export async function writeNewFile(
  path: string,
  chunks: AsyncIterable<FileChunk>,
  options: WriteNewOptions = {},
): Promise<number> {
  await requireNoFile(path);
  return writeAtomically(resolve(path), async (temporary) => {
    const handle = await open(temporary, "wx");
    try {
      return await writeChunks(handle, chunks, (bytes) => {
        options.signal?.throwIfAborted();
        options.onBytes?.(bytes);
      });
    } finally {
      await handle.close();
    }
  });
}
