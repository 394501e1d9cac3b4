import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

const PYTHON = fileURLToPath(new URL("../../build/interop/venv/bin/python", import.meta.url));
const SCRIPT = fileURLToPath(new URL("../interop/outside_readers.py", import.meta.url));

/** What a command of `outside_readers.py` prints; `scripts/interop.sh` installs what it needs. */
export async function python(...args: readonly string[]): Promise<Record<string, unknown>> {
  const { stdout } = await promisify(execFile)(PYTHON, [SCRIPT, ...args], { maxBuffer: 64 * 1024 * 1024 });
  return JSON.parse(stdout) as Record<string, unknown>;
}
