import { readFile } from "node:fs/promises";

/**
 * Measures the memory of a process in bytes. Of shared memory it counts the process's share (PSS).
 * @returns `undefined` on other systems than Linux
 */
export async function processMemory(pid: number): Promise<number | undefined> {
  const text = await readFile(`/proc/${pid}/smaps_rollup`, "utf8").catch(() => "");
  const kilobytes = /^Pss:\s+(\d+) kB$/m.exec(text)?.[1];
  return kilobytes === undefined ? undefined : Number(kilobytes) * 1024;
}
