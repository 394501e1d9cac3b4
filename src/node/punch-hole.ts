import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { SourceError } from "../errors.ts";

const run = promisify(execFile);
/** File systems free whole blocks. */
const BLOCK = 4096;

/**
 * Gives a range of a file back to the disk: whole blocks of it are zeros from then on, and take no room. Its size stays.
 * Node has no call for that: util-linux's `fallocate` does it.
 * @throws SourceError `unsupported` where the system or the file system cannot; `io`
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
