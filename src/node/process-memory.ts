import { readFile } from "node:fs/promises";

/**
 * Memory of a process in bytes, with what it shares with others counted as its part of it (PSS).
 * @returns `undefined` where the system does not tell: it does on Linux
 */
export async function processMemory(pid: number): Promise<number | undefined> {
  const text = await readFile(`/proc/${pid}/smaps_rollup`, "utf8").catch(() => "");
  const kilobytes = /^Pss:\s+(\d+) kB$/m.exec(text)?.[1];
  return kilobytes === undefined ? undefined : Number(kilobytes) * 1024;
}
