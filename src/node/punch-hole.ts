import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { SourceError } from "../errors.ts";

const run = promisify(execFile);
/** Block size of file systems, in bytes; only complete blocks are freed. */
const BLOCK = 4096;

/**
 * Frees the disk space of a range of a file: its complete blocks read as zeros afterwards. The file's size stays.
 * Runs `fallocate` of util-linux, since Node has no such call.
 * @throws SourceError `unsupported` if the system or the file system cannot free ranges; `io`
 */
export async function punchHole(path: string, offset: number, length: number): Promise<void> {
  const start = Math.ceil(offset / BLOCK) * BLOCK;
  const end = Math.floor((offset + length) / BLOCK) * BLOCK;
  if (end <= start) return;
  const range = ["--punch-hole", "--offset", String(start), "--length", String(end - start)];
  try {
    await run("fallocate", [...range, "--", path]);
  } catch (cause) {
    const { code, stderr = "" } = cause as NodeJS.ErrnoException & { readonly stderr?: string };
    const unsupported = code === "ENOENT" || /not supported/i.test(stderr);
    throw new SourceError(unsupported ? "unsupported" : "io", `Cannot free a part of "${path}"`, {
      path,
      offset: start,
      cause,
    });
  }
}
