import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, readdir, readFile, rename, stat, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, onTestFinished, test } from "vitest";
import { writeSafetensors } from "../../src/formats/safetensors/write.ts";
import { changeIndex } from "../../src/local-store/change-index.ts";
import { sweepLeases } from "../../src/local-store/lease.ts";
import { withLock } from "../../src/local-store/lock.ts";
import { thisProcess } from "../../src/node/process-identity.ts";
import { type Home, home } from "../support/home.ts";
import { thrown } from "../support/thrown.ts";

const DIST = fileURLToPath(new URL("../../dist/", import.meta.url));
const linux = thisProcess().linux;

/** Name of a folder of an owner, as leases and locks have it. */
function nameOf(owner: { pid?: number; boot?: string; namespace?: number; started?: number } = {}): string {
  const { host, pid } = thisProcess();
  const identity = { ...linux, ...owner };
  return [
    host.replace(/[^A-Za-z0-9-]/g, "-"),
    owner.pid ?? pid,
    Date.now(),
    "0123456789ab",
    `${identity.boot}-${identity.namespace}-${identity.started}`,
  ].join(".");
}

async function file({ folder }: Home, name: string): Promise<string> {
  const path = join(folder, `${name}.safetensors`);
  const bytes = new TextEncoder().encode(name.padEnd(64));
  await writeFile(path, writeSafetensors({ w: { dtype: "uint8", shape: [64], bytes } }));
  return path;
}

/** Puts a lock with an owner into a store. */
async function lockAs({ store }: Home, name: string, renewed?: number): Promise<string> {
  const folder = join(store.path, "lock", name);
  await mkdir(folder, { recursive: true });
  await writeFile(join(folder, "owner"), "");
  if (renewed !== undefined) await utimes(join(folder, "owner"), renewed / 1000, renewed / 1000);
  return folder;
}

/** Runs a script with the built modules in a process, and waits for its first line. */
async function start(at: Home, script: string): Promise<ChildProcess> {
  const path = join(at.folder, "child.mjs");
  const head = `
    import fs from "node:fs"; import { syncBuiltinESMExports } from "node:module";
    const DIST = ${JSON.stringify(DIST)}, STORE = ${JSON.stringify(at.store.path)};
    const say = (line) => fs.writeSync(1, line + "\\n");
  `;
  await writeFile(path, head + script);
  const child = spawn(process.execPath, [path], { stdio: ["pipe", "pipe", "inherit"] });
  onTestFinished(() => void child.kill("SIGKILL"));
  await once(child.stdout, "data");
  return child;
}

async function names({ store }: Home): Promise<string[]> {
  return (await store.names.list()).map(({ name }) => name);
}

async function timeOf(work: () => Promise<unknown>): Promise<number> {
  const begin = performance.now();
  await work();
  return performance.now() - begin;
}

describe("withLock()", () => {
  test("leaves nothing behind, and lets many take turns", async () => {
    const at = await home();
    let inside = 0;
    const most = await Promise.all(
      Array.from({ length: 8 }, () =>
        withLock(at.store.paths, async () => {
          const count = ++inside;
          await new Promise((resolve) => setTimeout(resolve, 5));
          inside--;
          return count;
        }),
      ),
    );
    expect(most).toEqual(Array.from({ length: 8 }, () => 1));
    expect(await readdir(at.store.path)).not.toContain("lock");
    expect(await readdir(join(at.store.path, "tmp"))).toEqual([]);
  });

  test("waits for a process that is stopped for over ten seconds before it writes", async () => {
    const at = await home();
    const [first, second] = [await file(at, "first"), await file(at, "second")];
    const child = await start(
      at,
      `const rename = fs.promises.rename;
      fs.promises.rename = async (from, to) => {
        if (String(to).endsWith("index.json")) {
          say("renaming");
          const end = Date.now() + 500;
          while (Date.now() < end);
        }
        return rename(from, to);
      };
      syncBuiltinESMExports();
      const { openStore } = await import(DIST + "index.js");
      await (await openStore({ path: STORE })).add([${JSON.stringify(first)}]);`,
    );
    child.kill("SIGSTOP");
    const adding = at.store.add([second]);
    await new Promise((resolve) => setTimeout(resolve, 12_000));
    expect(await names(at)).toEqual([]);
    child.kill("SIGCONT");
    const [code] = await once(child, "exit");
    expect(code).toBe(0);
    await adding;
    expect(await names(at)).toEqual(["first", "second"]);
  });

  test("takes the lock of a killed process at once", async () => {
    const at = await home();
    const child = await start(
      at,
      `const { withLock } = await import(DIST + "local-store/lock.js");
      const { StorePaths } = await import(DIST + "local-store/store-paths.js");
      await withLock(new StorePaths(STORE), async () => { say("held"); await new Promise((r) => setTimeout(r, 60000)); });`,
    );
    expect(await readdir(join(at.store.path, "lock"))).toHaveLength(1);
    child.kill("SIGKILL");
    await once(child, "exit");
    const path = await file(at, "a");
    expect(await timeOf(() => at.store.add([path]))).toBeLessThan(2000);
    expect(await names(at)).toEqual(["a"]);
  });

  test.runIf(linux).each([
    ["a process whose number another one has now", nameOf({ started: 1 }), 0],
    ["another container that renewed it a minute ago", nameOf({ namespace: 1 }), -60_000],
    ["another container, renewed in the future", nameOf({ namespace: 1 }), 3600_000],
    ["an earlier start of the machine", nameOf({ boot: "0".repeat(32) }), -60_000],
    ["something else", "unknown", -60_000],
  ])("takes a lock of %s", async (_, owner, age) => {
    const at = await home();
    await lockAs(at, owner, Date.now() + age);
    expect(await timeOf(() => at.store.gc())).toBeLessThan(2000);
    expect(await readdir(at.store.path)).not.toContain("lock");
  });

  test.each([-20_000, 3600_000])("takes an empty lock of an older version (%i ms)", async (age) => {
    const at = await home();
    const path = join(at.store.path, "lock");
    await mkdir(path);
    const time = (Date.now() + age) / 1000;
    await utimes(path, time, time);
    expect(await timeOf(() => at.store.gc())).toBeLessThan(2000);
  });

  test.runIf(linux).each([
    ["of this container", nameOf()],
    ["of another container that renews it", nameOf({ namespace: 1 })],
  ])("waits for a living process %s", async (_, owner) => {
    const at = await home();
    const folder = await lockAs(at, owner);
    const collecting = at.store.gc();
    await new Promise((resolve) => setTimeout(resolve, 1500));
    expect(await readdir(folder)).toEqual(["owner"]);
    await rename(folder, join(at.folder, "released"));
    await utimes(join(at.store.path, "lock"), 1, 1);
    await collecting;
  });

  test("changes nothing once the lock is lost", async () => {
    const at = await home();
    const path = await file(at, "a");
    await at.store.add([path]);
    const { paths } = at.store;
    const before = await readFile(paths.index);
    const lose = async (): Promise<void> => {
      const [owner = ""] = await readdir(join(paths.root, "lock"));
      await rename(join(paths.root, "lock", owner), join(at.folder, owner));
    };
    const change = changeIndex(paths, async () => {
      await lose();
      return { result: undefined, manifests: [] };
    });
    expect(await thrown(change)).toMatchObject({ code: "locked" });
    expect(await readFile(paths.index)).toEqual(before);
    const removing = withLock(paths, async (lock) => {
      await lose();
      await lock.remove(paths.index);
    });
    expect(await thrown(removing)).toMatchObject({ code: "locked" });
    expect(await readFile(paths.index)).toEqual(before);
  });
});

describe.runIf(linux)("sweepLeases()", () => {
  const MINUTES = 60_000;
  test.each([
    ["its process number is in use again", nameOf({ started: 1 }), 0, false],
    ["it is of this process", nameOf(), -60 * MINUTES, true],
    ["it is of another container, and was renewed", nameOf({ namespace: 1, pid: 1 }), -MINUTES, true],
    [
      "it is of another container, and was not renewed",
      nameOf({ namespace: 1, pid: 1 }),
      -60 * MINUTES,
      false,
    ],
    ["it is of another container, renewed in the future", nameOf({ namespace: 1 }), 60 * MINUTES, false],
    [
      "an older version made it and is gone",
      nameOf({ pid: 2 ** 22 + 1 })
        .split(".")
        .slice(0, 4)
        .join("."),
      0,
      false,
    ],
    ["an older version made it and may run", nameOf().split(".").slice(0, 4).join("."), 0, true],
  ])("knows a lease: %s", async (_, name, age, kept) => {
    const at = await home();
    const folder = join(at.store.paths.temporary, name);
    await mkdir(folder);
    const time = (Date.now() + age) / 1000;
    await utimes(folder, time, time);
    expect((await sweepLeases(at.store.paths)) !== undefined).toBe(kept);
    expect((await stat(folder).catch(() => undefined)) !== undefined).toBe(kept);
  });

  test("leaves a folder that is no lease", async () => {
    const at = await home();
    const folder = join(at.store.paths.temporary, "unknown");
    await mkdir(folder);
    expect(await sweepLeases(at.store.paths)).toBeUndefined();
    expect((await stat(folder)).isDirectory()).toBe(true);
  });
});
