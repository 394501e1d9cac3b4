import { spawn } from "node:child_process";
import { once } from "node:events";
import { describe, expect, test } from "vitest";
import { isAlive, type LinuxIdentity, thisProcess } from "../../src/node/process-identity.ts";

const own = thisProcess();

describe.runIf(process.platform === "linux")("isAlive()", () => {
  const linux = own.linux as LinuxIdentity;

  test("knows this process, and its number before or after it", () => {
    expect(isAlive(own)).toBe(true);
    expect(isAlive({ ...own, linux: { ...linux, started: linux.started - 1 } })).toBe(false);
  });

  test("knows a process that ended", async () => {
    const child = spawn(process.execPath, ["-e", ""]);
    await once(child, "exit");
    expect(isAlive({ ...own, pid: child.pid as number })).toBe(false);
  });

  test("knows a process that ended and whose parent did not ask", async () => {
    const child = spawn("sh", ["-c", "sleep 0.1 & echo $!; exec sleep 30"]);
    const [pid] = (await once(child.stdout, "data")) as [Buffer];
    await new Promise((resolve) => setTimeout(resolve, 500));
    expect(isAlive({ ...own, pid: Number(pid) })).toBe(false);
    child.kill();
  });

  test("does not know processes of another machine, start or container, not even by the host's name", () => {
    expect(isAlive({ ...own, linux: { ...linux, namespace: 1 } })).toBeUndefined();
    expect(isAlive({ ...own, linux: { ...linux, boot: "0".repeat(32) } })).toBeUndefined();
    expect(isAlive({ host: own.host, pid: own.pid })).toBeUndefined();
  });
});
