import { open, readdir } from "node:fs/promises";
import { join, resolve } from "node:path";
import { SourceError } from "../errors.ts";
import { syncFolder, writeAtomically } from "./atomic-write.ts";
import { makeFolder } from "./make-folder.ts";
import { type FileChunk, writeChunks } from "./write-chunks.ts";

/** A file of a folder, as a stream. */
export interface StreamedFile {
  /** Name without folders. */
  readonly name: string;
  /** Throws if the bytes cannot be read. */
  readonly chunks: AsyncIterable<FileChunk>;
}

/**
 * Writes a folder of files atomically.
 * @param verb the operation, for errors: "split into"
 * @param finish runs before the folder gets its name; if it throws, nothing is left behind
 * @throws SourceError `exists`, `disk-full`, `io`; the errors of `finish` and of the chunks
 */
export async function writeFolder(
  path: string,
  files: readonly StreamedFile[],
  verb: string,
  finish: () => Promise<void>,
): Promise<string> {
  const target = resolve(path);
  await requireEmptyTarget(target, verb);
  await writeAtomically(target, async (temporary) => {
    await makeFolder(temporary);
    for (const { name, chunks } of files) {
      const handle = await open(join(temporary, name), "wx", 0o644);
      try {
        await writeChunks(handle, chunks);
      } finally {
        await handle.close();
      }
    }
    await syncFolder(temporary);
    await finish();
  });
  return target;
}

/**
 * Checks that a path does not exist, or is an empty folder.
 * @param verb the operation, for errors
 * @throws SourceError `exists`
 */
export async function requireEmptyTarget(path: string, verb: string): Promise<void> {
  const present = await readdir(path).catch((error: NodeJS.ErrnoException) =>
    error.code === "ENOENT" ? [] : [error.code],
  );
  if (present.length === 0) return;
  throw new SourceError("exists", `Cannot ${verb} "${path}": it exists already`, {
    path,
    hint: "Choose a new or empty folder",
  });
}
