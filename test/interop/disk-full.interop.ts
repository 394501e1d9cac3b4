import { execFileSync } from "node:child_process";
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { openStore } from "../../src/tare-store.ts";
import { charlm } from "../support/charlm.ts";
import { temporaryFolder } from "../support/temporary.ts";

let family: string;
beforeAll(async () => {
  family = await charlm();
});

/** A file system of so many bytes; `undefined` where this process may not mount one. */
async function smallDisk(bytes: number): Promise<string | undefined> {
  const folder = await temporaryFolder();
  try {
    execFileSync("mount", ["-t", "tmpfs", "-o", `size=${bytes}`, "tmpfs", folder], { stdio: "ignore" });
  } catch {
    return undefined;
  }
  onTestFinished(() => void execFileSync("umount", ["-l", folder]));
  return folder;
}

describe("a disk that is full", () => {
  test("is a clear error, and the store is as it was", async ({ skip }) => {
    const disk = await smallDisk(11_000_000);
    if (disk === undefined) {
      skip("this process may not mount a file system");
      return;
    }
    const store = await openStore({ path: join(disk, "store") });
    await store.add([join(family, "base")]);
    const blobs = await readdir(join(store.path, "blobs", "sha256"));
    await expect(store.add([join(family, "licence")])).rejects.toMatchObject({
      code: "disk-full",
      hint: expect.stringContaining("tare gc"),
    });
    expect(await readdir(join(store.path, "blobs", "sha256"))).toEqual(blobs);
    expect(await readdir(join(store.path, "tmp"))).toEqual([]);
    expect((await store.verify({ full: true })).problems).toEqual([]);
    // What kjv changed is smaller, and fits.
    await store.add([join(family, "kjv")]);
    expect((await store.verify({ full: true })).models).toBe(2);
    await expect(store.export("base", join(disk, "out"))).rejects.toMatchObject({ code: "disk-full" });
    expect(await readdir(disk)).toEqual(["store"]);
  });
});
