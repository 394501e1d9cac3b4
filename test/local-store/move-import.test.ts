import { spawn } from "node:child_process";
import { once } from "node:events";
import {
  appendFile,
  cp,
  link,
  mkdir,
  readdir,
  readFile,
  rm,
  stat,
  symlink,
  writeFile,
} from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, onTestFinished, test, vi } from "vitest";
import { writeSafetensors } from "../../src/formats/safetensors/write.ts";
import { openStore, type TareStore } from "../../src/tare-store.ts";
import { punchHole } from "../../src/node/punch-hole.ts";
import { type Home, home } from "../support/home.ts";
import { canPunchHoles } from "../support/punch-holes.ts";
import { LONG } from "../support/speed.ts";
import { temporaryFolder } from "../support/temporary.ts";
import { thrown } from "../support/thrown.ts";

const SIZE = 128 * 1024;
const COUNT = 24;
const frees = await canPunchHoles(tmpdir());

/** A checkpoint of many weights, all different, and two small ones. */
function checkpoint(): Buffer {
  const tensor = (bytes: Uint8Array) => ({ dtype: "uint8" as const, shape: [bytes.length], bytes });
  const large = Array.from({ length: COUNT }, (_, nth) => {
    const bytes = new Uint8Array(SIZE).map((__, at) => (at * 31 + nth * 7 + (at >> 8)) & 0xff);
    return [`layer.${nth}`, tensor(bytes)] as const;
  });
  const small = ["a", "b"].map((name, nth) => [name, tensor(new Uint8Array(5).fill(nth + 1))] as const);
  return Buffer.from(writeSafetensors(Object.fromEntries([...large, ...small])));
}

interface Place extends Home {
  readonly path: string;
  readonly bytes: Buffer;
}

async function place(): Promise<Place> {
  const at = await home({ workers: 1 });
  const bytes = checkpoint();
  const path = join(at.folder, "large.safetensors");
  await writeFile(path, bytes);
  return { ...at, path, bytes };
}

async function journals(store: TareStore): Promise<string[]> {
  const names = await readdir(join(store.path, "consuming")).catch(() => []);
  return names.filter((name) => !name.startsWith(".")).map((name) => join(store.path, "consuming", name));
}

async function expectWhole({ store, folder, path, bytes }: Place, name = "large"): Promise<void> {
  expect((await readdir(folder)).filter((each) => each.startsWith("large"))).toEqual([]);
  expect(await journals(store)).toEqual([]);
  expect((await store.verify({ full: true })).problems).toEqual([]);
  await store.export(name, path);
  expect((await readFile(path)).equals(bytes)).toBe(true);
}

/** Stops an add once some of its weights are freed. */
async function stopAfter({ store, path }: Place, steps: number): Promise<void> {
  const stop = new AbortController();
  const options = { move: true, moveStepBytes: 1, threads: 1, signal: stop.signal };
  const ended = new AbortController();
  const adding = store.add([path], options).finally(() => ended.abort());
  while (!ended.signal.aborted && !stop.signal.aborted) {
    const [journal] = await journals(store);
    const text = journal === undefined ? "" : await readFile(journal, "utf8").catch(() => "");
    if (text.split("\n").length > steps + 1) stop.abort();
    await new Promise(setImmediate);
  }
  await expect(adding).rejects.toThrow();
  expect((await store.status()).unfinished).toEqual([path]);
}

describe("punchHole()", () => {
  test.runIf(frees)("frees whole blocks, and leaves the size and everything else", async () => {
    const path = join(await temporaryFolder(), "x");
    await writeFile(path, new Uint8Array(64 * 1024).fill(1), { flush: true });
    const before = await stat(path);
    await punchHole(path, 5000, 40_000);
    const after = await stat(path);
    expect(after.size).toBe(before.size);
    expect(after.blocks).toBeLessThan(before.blocks);
    const bytes = await readFile(path);
    expect(bytes.subarray(0, 5000).every((byte) => byte === 1)).toBe(true);
    expect(bytes.subarray(45_000).every((byte) => byte === 1)).toBe(true);
    expect(bytes.subarray(8192, 40_960).every((byte) => byte === 0)).toBe(true);
    await punchHole(path, 100, 4096);
    expect((await stat(path)).blocks).toBe(after.blocks);
  });
});

describe("TareStore.add() that moves", () => {
  test("leaves the model in the store, and no file", async () => {
    const at = await place();
    const result = await at.store.add([at.path], { move: true, moveStepBytes: 4 * SIZE });
    expect(result).toMatchObject({ name: "large", weights: COUNT + 2, fileBytes: at.bytes.length });
    expect((await at.store.status()).unfinished).toEqual([]);
    await expectWhole(at);
  });

  test("removes the files at the end where nothing can free parts of them, and says so", async () => {
    const at = await place();
    // Where no fallocate is found.
    vi.stubEnv("PATH", "");
    onTestFinished(() => void vi.unstubAllEnvs());
    const { notes } = await at.store.add([at.path], { move: true, moveStepBytes: SIZE });
    expect(notes).toEqual([expect.stringContaining("cannot free parts of a file")]);
    await expectWhole(at);
  });

  test("takes a folder with its companions, and removes it unless it has more", async () => {
    const { store, folder, path, bytes } = await place();
    const model = join(folder, "model");
    await mkdir(model);
    await cp(path, join(model, "model.safetensors"));
    await writeFile(join(model, "config.json"), "{}");
    await store.add([model], { move: true });
    expect(await readdir(folder)).not.toContain("model");
    await store.export("model", model);
    expect((await readFile(join(model, "model.safetensors"))).equals(bytes)).toBe(true);
    expect(await readFile(join(model, "config.json"), "utf8")).toBe("{}");
    await writeFile(join(model, "mine.bin"), "mine");
    await store.add([model], { move: true, replace: true });
    expect(await readdir(model)).toEqual(["mine.bin"]);
  });

  test.runIf(frees)("goes on where it was killed, and loses nothing", LONG, async () => {
    const index = fileURLToPath(new URL("../../dist/index.js", import.meta.url));
    for (const lines of [1, 9, COUNT + 1]) {
      const at = await place();
      const script = `import { openStore } from ${JSON.stringify(index)};
        const store = await openStore({ path: ${JSON.stringify(at.store.path)} });
        await store.add([${JSON.stringify(at.path)}], { move: true, moveStepBytes: 1, threads: 1 });`;
      await writeFile(join(at.folder, "add.mjs"), script);
      const child = spawn(process.execPath, [join(at.folder, "add.mjs")], { stdio: "ignore" });
      const ended = once(child, "exit");
      const written = async (): Promise<number> => {
        const [journal] = await journals(at.store);
        return journal === undefined
          ? 0
          : (await readFile(journal, "utf8").catch(() => "")).split("\n").length - 1;
      };
      while (child.exitCode === null && (await written()) < lines) await new Promise(setImmediate);
      child.kill("SIGKILL");
      await ended;
      const store = await openStore({ path: at.store.path });
      const left = (await readdir(at.folder)).filter((each) => each.startsWith("large"));
      if (left.length > 0) {
        if ((await written()) > 1) {
          // Its name says what it is before anything is freed.
          expect(left).toEqual(["large.safetensors.consuming"]);
          expect((await store.status()).unfinished).toEqual([at.path]);
        }
        await store.gc();
        await store.add([at.path], { move: lines % 2 === 0 });
      }
      await expectWhole({ ...at, store });
    }
  });

  test.runIf(frees)("goes on after it was stopped, under another name too", async () => {
    const at = await place();
    await stopAfter(at, 3);
    expect((await stat(`${at.path}.consuming`)).blocks).toBeLessThan(Math.ceil(at.bytes.length / 512));
    await at.store.gc();
    const { blobs, problems } = await at.store.verify({ full: true });
    expect(blobs).toBeGreaterThan(2);
    expect(problems).toEqual([]);
    await at.store.add([at.path], { as: "other" });
    await expectWhole(at, "other");
  });

  test.runIf(frees)(
    "goes on with a journal whose last line is torn, and with one that says all is done",
    async () => {
      const at = await place();
      await stopAfter(at, 2);
      const [journal = ""] = await journals(at.store);
      await appendFile(journal, '{"key": "0:8');
      await at.store.add([at.path], { move: true });
      await expectWhole(at);

      const other = await place();
      await stopAfter(other, 2);
      const [left = ""] = await journals(other.store);
      const text = await readFile(left);
      await other.store.add([other.path], { move: true });
      await writeFile(left, Buffer.concat([text, Buffer.from('{"done":true}\n')]));
      await writeFile(`${other.path}.consuming`, "what is left");
      expect(await other.store.add([other.path], { move: true })).toMatchObject({
        name: "large",
        newBytes: 0,
      });
      await expectWhole(other);
    },
  );

  test("leaves files as they were where it fails before anything is freed", async () => {
    const { path, bytes, store, folder } = await place();
    await store.add([path], { as: "taken" });
    const short = join(folder, "short.safetensors");
    await writeFile(short, bytes.subarray(0, bytes.length - 1));
    expect(await thrown(store.add([path], { move: true, as: "taken" }))).toMatchObject({
      code: "name-taken",
    });
    expect((await thrown(store.add([short], { move: true }))).path).toBe(short);
    await symlink(path, join(folder, "link.safetensors"));
    for (const name of ["link.safetensors", "store/index.json"]) {
      const error = await thrown(store.add([join(folder, name)], { move: true }));
      expect(["unsupported", "unknown-format"]).toContain(error.code);
    }
    await link(path, join(folder, "twin.safetensors"));
    expect(await thrown(store.add([path], { move: true }))).toMatchObject({ code: "unsupported", path });
    expect((await readFile(path)).equals(bytes)).toBe(true);
    expect((await readFile(short)).length).toBe(bytes.length - 1);
    expect((await store.status()).unfinished).toEqual([]);
  });

  test.runIf(frees)("knows the name that a model got where only its files were left to remove", async () => {
    const at = await place();
    await stopAfter(at, 2);
    const [journal = ""] = await journals(at.store);
    const text = await readFile(journal);
    await at.store.add([at.path], { as: "other" });
    await writeFile(journal, Buffer.concat([text, Buffer.from('{"done":true,"name":"other"}\n')]));
    expect(await at.store.add([at.path])).toMatchObject({ name: "other", newBytes: 0 });
    await expectWhole(at, "other");
  });

  test.runIf(frees)("is looked after by verify while it is unfinished", async () => {
    const at = await place();
    await stopAfter(at, 2);
    const [journal = ""] = await journals(at.store);
    const [, line = ""] = (await readFile(journal, "utf8")).split("\n");
    const { blob } = JSON.parse(line) as { blob: string };
    const path = join(at.store.path, "blobs", "sha256", blob.slice("sha256:".length));
    const bytes = await readFile(path);
    await rm(path);
    expect((await at.store.verify()).problems).toMatchObject([
      { model: at.path, error: { code: "missing-blob", digest: blob } },
    ]);
    await writeFile(path, bytes);
    await at.store.add([at.path]);
    await expectWhole(at);
  });

  test.runIf(frees)("refuses a journal that is none, and collects nothing then", async () => {
    const at = await place();
    await stopAfter(at, 1);
    const [journal = ""] = await journals(at.store);
    const text = await readFile(journal);
    await writeFile(journal, '{"version": 1, "files": [{"path": "../x"}]}\n');
    expect(await thrown(at.store.add([at.path], { move: true }))).toMatchObject({ code: "malformed" });
    expect(await thrown(at.store.gc())).toMatchObject({ code: "corrupted" });
    await writeFile(journal, text);
    await at.store.add([at.path], { move: true });
    await expectWhole(at);
  });
});
