import { join } from "node:path";
import { SourceError } from "../errors.ts";
import { isPlainPath, isRelativePath } from "../model/config.ts";

/**
 * Joins a path of a model's file to a folder that is written.
 * @param path relative, with `/` between names
 * @throws SourceError `unsafe-path` for a path that would leave the folder, which on Windows a `\` or `:` may cause
 */
export function joinInside(folder: string, path: string, platform: string = process.platform): string {
  if (platform === "win32" ? isPlainPath(path) : isRelativePath(path)) return join(folder, path);
  throw new SourceError("unsafe-path", `Cannot write "${path}": it is no name of a file on this system`, {
    path,
    hint: "Write the model on another system, and rename the file there",
  });
}
