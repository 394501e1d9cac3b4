import { mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { joinInside } from "../../src/node/join-inside.ts";
import { requireStorable } from "../../src/model/require-storable.ts";
import { joinSplit } from "../../src/operations/split/join.ts";
import { split } from "../../src/operations/split/split.ts";
import { openStore } from "../../src/tare-store.ts";
import { memorySource } from "../../src/io/byte-source.ts";
import { safetensorsFile } from "../support/safetensors-file.ts";
import { temporaryFolder } from "../support/temporary.ts";

/** Names that POSIX allows and Windows does not. */
const COMPANION = "a:b\\c.json";
const MODEL = "mo:d\\el.safetensors";

async function folderOf(): Promise<string> {
  const folder = join(await temporaryFolder(), "m");
  await mkdir(folder);
  await writeFile(join(folder, MODEL), safetensorsFile(["w"], 20_000));
  await writeFile(join(folder, COMPANION), "{}");
  return folder;
}

describe.skipIf(process.platform === "win32")("a store, with files whose names have : and \\,", () => {
  test("adds, lists, checks, collects, exports, splits and joins them", async () => {
    const folder = await folderOf();
    const at = (name: string): string => join(folder, "..", name);
    const store = await openStore({ path: at("store") });
    await store.add([folder]);
    expect((await store.list()).map((model) => model.name)).toEqual(["m"]);
    expect((await store.verify()).problems).toEqual([]);
    expect((await store.gc()).blobs).toBe(0);
    await store.export("m", at("exported"));
    await split(store, ["m"], at("split"));
    await joinSplit(at("split"), "m", at("joined"));
    for (const copy of ["exported", "joined"]) {
      expect((await readdir(at(copy))).sort()).toEqual([COMPANION, MODEL].sort());
      expect(await readFile(join(at(copy), MODEL))).toEqual(await readFile(join(folder, MODEL)));
    }
  });

  test("moves them, and gives them back", async () => {
    const folder = await folderOf();
    const bytes = await readFile(join(folder, MODEL));
    const store = await openStore({ path: join(folder, "..", "store") });
    await store.add([folder], { move: true });
    await store.export("m", folder);
    expect(await readFile(join(folder, MODEL))).toEqual(bytes);
    expect(await readFile(join(folder, COMPANION), "utf8")).toBe("{}");
  });
});

describe("requireStorable()", () => {
  const files = (...paths: string[]) => ({
    files: paths.map((path) => ({ path, source: memorySource(new Uint8Array(0)) })),
  });

  test.each(["", "/a", "a/../b", "./a", "a//b", "a\0b"])("refuses %j by name", (path) => {
    expect(() => requireStorable(files("ok", path))).toThrow(
      expect.objectContaining({ code: "unsafe-path", path, message: expect.stringContaining(`"${path}"`) }),
    );
  });

  test("refuses a path twice", () => {
    expect(() => requireStorable(files("a", "a"))).toThrow(expect.objectContaining({ path: "a" }));
  });
});

describe("joinInside()", () => {
  test("refuses what Windows would take for another place, on Windows alone", () => {
    for (const path of ["C:x", "a\\..\\..\\b", "a:b"]) {
      expect(() => joinInside("/out", path, "win32")).toThrow(
        expect.objectContaining({ code: "unsafe-path", path }),
      );
      expect(joinInside("/out", path, "linux")).toBe(`/out/${path}`);
    }
    expect(() => joinInside("/out", "../x", "linux")).toThrow(
      expect.objectContaining({ code: "unsafe-path" }),
    );
  });
});
