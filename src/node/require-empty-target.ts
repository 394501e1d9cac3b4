import { readdir } from "node:fs/promises";
import { SourceError } from "../errors.ts";

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
