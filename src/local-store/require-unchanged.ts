import { stat } from "node:fs/promises";
import { SourceError } from "../errors.ts";
import { fileError, type FileSource, identityOf, sameIdentity } from "../node/file-source.ts";

/**
 * Makes sure that files are what they were when they were opened.
 * @throws SourceError `source-changed`
 */
export async function requireUnchanged(files: readonly FileSource[]): Promise<void> {
  for (const { name, identity } of files) {
    const stats = await stat(name).catch((cause: unknown) => {
      throw fileError(name, "look at", cause);
    });
    if (!sameIdentity(identityOf(stats), identity)) throw sourceChanged(name);
  }
}

/** The error for a file that is not what it was when its header was read. */
export function sourceChanged(path: string): SourceError {
  return new SourceError("source-changed", `Cannot add "${path}": it changed while it was read`, {
    path,
    hint: "wait until its writer is done, and add it again",
  });
}
