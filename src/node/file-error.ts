import { SourceError } from "../errors.ts";

/** Turns a system error about a file into a SourceError. */
export function fileError(path: string, doing: string, cause: unknown): SourceError {
  const { code } = cause as NodeJS.ErrnoException;
  if (code === "ENOENT" || code === "ENOTDIR") {
    return new SourceError("not-found", `Cannot find "${path}"`, { path, cause });
  }
  if (code === "ENOSPC" || code === "EDQUOT") return diskFull(path, cause);
  const reason = cause instanceof Error ? cause.message.replace(/,.*$/s, "") : String(cause);
  return new SourceError("io", `Cannot ${doing} "${path}": ${reason}`, { path, cause });
}

/** Makes the error of a write to a full disk. */
function diskFull(path: string, cause: unknown): SourceError {
  return new SourceError("disk-full", `Cannot write "${path}": the disk is full`, {
    path,
    cause,
    hint: "Free some space (tare gc removes blobs that no model uses) and try again; the store is unchanged",
  });
}

/** Whether a system error means that a path does not exist. */
export function isAbsent(error: unknown): boolean {
  const { code } = error as NodeJS.ErrnoException;
  return code === "ENOENT" || code === "ENOTDIR";
}
