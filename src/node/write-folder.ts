import { mkdir, open, readdir } from "node:fs/promises";
import { join, resolve } from "node:path";
import { SourceError } from "../errors.ts";
import { syncFolder, writeAtomically } from "./atomic-write.ts";
import { type FileChunk, writeChunks } from "./write-chunks.ts";

/** A file of a folder, as a stream. */
export interface StreamedFile {
  /** A plain name. */
  readonly name: string;
  /** Ends early, with an error, where the bytes cannot be had. */
  readonly chunks: AsyncIterable<FileChunk>;
}

/**
 * Writes a folder of files. Nothing appears under its name before all of it is there.
 * @param verb what cannot be done if something is there: "split into"
 * @param finish runs before the folder gets its name: what it throws leaves nothing behind
 * @throws SourceError `exists`, `disk-full`, `io`
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
    await mkdir(temporary, { recursive: true });
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
 * Makes sure that a folder can be made at a path: nothing is there, or an empty folder.
 * @param verb what cannot be done otherwise
 * @throws SourceError `exists`
 */
export async function requireEmptyTarget(path: string, verb: string): Promise<void> {
  const present = await readdir(path).catch((error: NodeJS.ErrnoException) =>
    error.code === "ENOENT" ? [] : [error.code],
  );
  if (present.length === 0) return;
  throw new SourceError("exists", `Cannot ${verb} "${path}": something is there already`, {
    path,
    hint: "choose a new or empty folder",
  });
}
