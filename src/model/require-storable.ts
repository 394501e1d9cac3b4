import { SourceError } from "../errors.ts";
import { isRelativePath } from "./config.ts";
import type { ModelDraft } from "./draft.ts";

/**
 * Checks the paths of a draft's files by the rules of a config, before anything is written.
 * @throws SourceError `unsafe-path` for a path that is not relative, or that two files have
 */
export function requireStorable({ files }: Pick<ModelDraft, "files">): void {
  const seen = new Set<string>();
  for (const { path } of files) {
    if (!isRelativePath(path)) throw refusal(path, "it is not a relative path");
    if (seen.has(path)) throw refusal(path, "two files of the model have this path");
    seen.add(path);
  }
}

function refusal(path: string, reason: string): SourceError {
  return new SourceError("unsafe-path", `Cannot store "${path}": ${reason}`, {
    path,
    hint: "Rename the file",
  });
}
