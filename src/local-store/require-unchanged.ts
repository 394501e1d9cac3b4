import { stat } from "node:fs/promises";
import { SourceError } from "../errors.ts";
import { fileError, type FileSource, identityOf, sameIdentity } from "../node/file-source.ts";

/**
 * Checks that files are unchanged since they were opened.
 * @throws SourceError `source-changed`
 */
export async function requireUnchanged(files: readonly FileSource[]): Promise<void> {
  for (const { name, identity } of files) {
    const stats = await stat(name).catch((cause: unknown) => {
      throw fileError(name, "check", cause);
    });
    if (!sameIdentity(identityOf(stats), identity)) throw sourceChanged(name);
  }
}

/** Makes the error for a file that changed after its header was read. */
export function sourceChanged(path: string): SourceError {
  return new SourceError("source-changed", `Cannot add "${path}": it changed while it was read`, {
    path,
    hint: "Wait until the writer of the file is done, and add the file again",
  });
}
