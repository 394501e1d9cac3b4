import { execFileSync } from "node:child_process";
import { mkdir, readdir, readFile, rename, rm, symlink, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { makeFolder } from "../../src/node/make-folder.ts";
import { openFolderSink } from "../../src/local-store/folder-sink.ts";
import { FileCompileCache } from "../../src/local-store/compile-cache.ts";
import { openStore, type TareStore } from "../../src/tare-store.ts";
import { safetensorsFile } from "../support/safetensors-file.ts";
import { temporaryFolder } from "../support/temporary.ts";
import { thrown } from "../support/thrown.ts";

const HEX = "ab".repeat(32);
const DEAD_LEASE = "host.999999999.1.0123456789ab";

/** A store with one model, beside a folder of somebody's files under names that tare uses. */
async function storeBeside(): Promise<{ store: TareStore; model: string; theirs: string }> {
  const folder = await temporaryFolder();
  const [model, theirs] = [join(folder, "m.safetensors"), join(folder, "theirs")];
  await writeFile(model, safetensorsFile(["w"], 20_000));
  for (const name of ["photos", DEAD_LEASE, HEX, "sha256"])
    await mkdir(join(theirs, name), { recursive: true });
  for (const name of [
    "thesis.txt",
    `photos/1.jpg`,
    `${DEAD_LEASE}/x`,
    `${HEX}/x`,
    `${HEX}.gguf`,
    `sha256/${HEX}`,
  ])
    await writeFile(join(theirs, name), "precious");
  const store = await openStore({ path: join(folder, "store") });
  await store.add([model]);
  return { store, model, theirs };
}

async function contentOf(folder: string): Promise<string[]> {
  return (await readdir(folder, { recursive: true })).sort();
}

describe("a store whose folders are links", () => {
  test.each(["tmp", "views", "cache", "blobs", "blobs/sha256", "consuming", "cache/compiled"])(
    "deletes and writes nothing through %s, and names it",
    async (name) => {
      const { store, model, theirs } = await storeBeside();
      const path = join(store.path, name);
      if (name.startsWith("cache/")) await mkdir(join(store.path, "cache"));
      if (name.startsWith("blobs")) await rename(path, `${store.path}.blobs`);
      else await rm(path, { recursive: true, force: true });
      await symlink(name.startsWith("blobs") ? `${store.path}.blobs` : theirs, path);
      const before = [await contentOf(theirs), await contentOf(store.path)];
      const other = `${model}.2.safetensors`;
      await writeFile(other, safetensorsFile(["v"], 30_000));
      for (const act of [
        () => store.gc({ dryRun: true }),
        () => store.gc(),
        () => store.gc({ cache: true }),
        () => store.add([other]),
        () => store.add([other], { move: true }),
      ]) {
        expect(await thrown(act)).toMatchObject({
          code: "unsafe-path",
          path,
          message: expect.stringContaining(`"${name}" is a link`),
        });
      }
      expect([await contentOf(theirs), await contentOf(store.path)]).toEqual(before);
      expect((await readFile(other)).byteLength).toBeGreaterThan(30_000);
    },
  );

  test("still lists, checks and exports its models", async () => {
    const { store } = await storeBeside();
    await rename(join(store.path, "blobs"), `${store.path}.blobs`);
    await symlink(`${store.path}.blobs`, join(store.path, "blobs"));
    expect((await store.list()).length).toBe(1);
    expect((await store.verify()).problems).toEqual([]);
    await store.export("m", `${store.path}.out`);
  });
});

describe("TareStore.gc()", () => {
  test("deletes only entries that tare makes, by name and kind", async () => {
    const { store, theirs } = await storeBeside();
    const at = (...names: string[]): string => join(store.path, ...names);
    const foreign = [
      ["tmp", "notes"],
      ["tmp", "host.1.2.xyz"],
      ["views", "mine"],
      ["blobs", "sha256", "README"],
      ["cache", "compiled", "mine"],
      ["cache", "packed", "mine"],
      ["cache", "derived", "mine"],
    ];
    for (const names of foreign) {
      await mkdir(at(...names.slice(0, -1)), { recursive: true });
      await writeFile(at(...names), "precious");
    }
    // Names of tare, but links.
    await symlink(join(theirs, DEAD_LEASE), at("tmp", DEAD_LEASE));
    await symlink(join(theirs, HEX), at("views", HEX));
    await symlink(join(theirs, "sha256", HEX), at("blobs", "sha256", HEX));
    const before = [await contentOf(theirs), await contentOf(store.path)];
    await store.gc();
    await store.gc({ cache: true });
    expect([await contentOf(theirs), await contentOf(store.path)]).toEqual(before);
  });

  test("deletes nothing in a dry run, also nothing of dead writers", async () => {
    const { store } = await storeBeside();
    await mkdir(join(store.path, "tmp", DEAD_LEASE));
    await mkdir(join(store.path, "views", HEX), { recursive: true });
    await new FileCompileCache(store).put(`compiled-${HEX}`, Buffer.from("x"));
    const unused = join(store.path, "blobs", "sha256", HEX);
    await writeFile(unused, "unused");
    await utimes(unused, 1, 1);
    const before = await contentOf(store.path);
    expect(await store.gc({ dryRun: true, cache: true })).toMatchObject({ blobs: 1 });
    expect(await contentOf(store.path)).toEqual(before);
    await store.gc({ cache: true });
    expect(await contentOf(store.path)).toEqual(
      before.filter((name) => !name.includes(HEX) && !name.includes(DEAD_LEASE)),
    );
  });
});

describe("openStore()", () => {
  test.each([
    [["tmp/", "tmp/work.txt"]],
    [["tmp/", "views/", "cache/"]],
    [["views/"]],
    [["cache/"]],
    [[".git/"]],
    [[".hidden"]],
    [["blobs/", "blobs/x"]],
    [["blobs/", "blobs/sha256/", "blobs/sha256/x"]],
    [["index.json"]],
  ])("takes no folder with %j for a store, and leaves it alone", async (names) => {
    const folder = await temporaryFolder();
    for (const name of names) {
      if (name.endsWith("/")) await mkdir(join(folder, name));
      else await writeFile(join(folder, name), "precious");
    }
    const before = await contentOf(folder);
    for (const create of [true, false])
      expect(await thrown(openStore({ path: folder, create }))).toMatchObject({
        code: "not-a-store",
        path: folder,
      });
    expect(await contentOf(folder)).toEqual(before);
  });

  test.each([
    [[]],
    [["blobs/", "blobs/sha256/"]],
    [["blobs/", "blobs/sha256/", "tmp/", ".index.json.0123456789ab"]],
  ])("continues where a process was killed as it made a store: %j", async (names) => {
    const folder = await temporaryFolder();
    for (const name of names)
      await (name.endsWith("/") ? mkdir(join(folder, name)) : writeFile(join(folder, name), "{"));
    await openStore({ path: folder });
    await openStore({ path: folder, create: false });
  });

  test("makes no store where there is none, if it is not allowed to", async () => {
    const folder = await temporaryFolder();
    for (const path of [folder, join(folder, "new")]) {
      expect(await thrown(openStore({ path, create: false }))).toMatchObject({
        code: "not-a-store",
        path,
        hint: expect.stringContaining("tare add PATH"),
      });
    }
    expect(await contentOf(folder)).toEqual([]);
  });

  test.skipIf(process.platform !== "linux")("ends where no folder can be made", async () => {
    for (const path of ["/proc/x", "/proc/x/y/z", "/dev/null", "/dev/null/x"])
      expect(await thrown(openStore({ path }))).toMatchObject({ code: "not-a-store", path });
    await expect(makeFolder("/proc/x/y")).rejects.toMatchObject({ code: "ENOENT" });
  });

  test.skipIf(process.platform === "win32")("does not wait for a named pipe", async () => {
    for (const name of ["oci-layout", "index.json"]) {
      const { store } = await storeBeside();
      await rm(join(store.path, name));
      execFileSync("mkfifo", [join(store.path, name)]);
      const error = await thrown(openStore({ path: store.path }));
      const { message } = error.cause instanceof Error ? error.cause : error;
      expect(message).toContain("it is a named pipe");
    }
  });
});

describe("openFolderSink()", () => {
  test("leaves what else is in its folder alone, and removes what dead processes left", async () => {
    const folder = await temporaryFolder();
    await mkdir(join(folder, "tmp", "work"), { recursive: true });
    await mkdir(join(folder, ".tare-unfinished", "work"), { recursive: true });
    await mkdir(join(folder, ".tare-unfinished", DEAD_LEASE));
    await (await openFolderSink(folder))[Symbol.asyncDispose]();
    expect(await contentOf(folder)).toEqual([
      ".tare-unfinished",
      ".tare-unfinished/work",
      "sha256",
      "tmp",
      "tmp/work",
    ]);
  });

  test.each(["sha256", ".tare-unfinished"])("does not write through the link %s", async (name) => {
    const folder = await temporaryFolder();
    await mkdir(join(folder, "theirs", DEAD_LEASE), { recursive: true });
    await mkdir(join(folder, "sink"));
    await symlink(join(folder, "theirs"), join(folder, "sink", name));
    expect(await thrown(openFolderSink(join(folder, "sink")))).toMatchObject({ code: "unsafe-path" });
    expect(await contentOf(join(folder, "theirs"))).toEqual([DEAD_LEASE]);
  });
});
