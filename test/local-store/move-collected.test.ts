import { chmod, readFile, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, onTestFinished, test, vi } from "vitest";
import { writeSafetensors } from "../../src/formats/safetensors/write.ts";
import { MoveImport } from "../../src/local-store/move-import.ts";
import { readModel } from "../../src/store/read-model.ts";
import { type Home, home } from "../support/home.ts";
import { canPunchHoles } from "../support/punch-holes.ts";
import { putInShard } from "../support/put-in-shard.ts";
import { thrown } from "../support/thrown.ts";

const SIZE = 64 * 1024;
const COUNT = 6;
const frees = await canPunchHoles(tmpdir());

interface Place extends Home {
  readonly path: string;
  readonly bytes: Buffer;
}

/** A store with a model "old", and the same file beside it. */
async function place(): Promise<Place> {
  const at = await home();
  const tensors = Array.from({ length: COUNT }, (_, nth) => {
    const bytes = new Uint8Array(SIZE).map((__, index) => (index * 31 + nth * 7 + (index >> 8)) & 0xff);
    return [`layer.${nth}`, { dtype: "uint8" as const, shape: [SIZE], bytes }] as const;
  });
  const bytes = Buffer.from(writeSafetensors(Object.fromEntries(tensors)));
  const path = join(at.folder, "large.safetensors");
  await writeFile(path, bytes);
  await at.store.add([path], { as: "old" });
  return { ...at, path, bytes };
}

/** Waits until the blobs of a store are older than the writers that begin now, as a collection compares them. */
async function age(): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, 2100));
}

/** Runs work between the step of a move that finds weights in the store and the one that frees them. */
function beforeFree(work: (call: number) => Promise<unknown>): void {
  const free = MoveImport.prototype.free;
  let call = 0;
  vi.spyOn(MoveImport.prototype, "free").mockImplementation(async function (this: MoveImport, weights) {
    await work(call++);
    await free.call(this, weights);
  });
  onTestFinished(() => void vi.restoreAllMocks());
}

async function expectWhole({ store, path, bytes }: Place, name = "large"): Promise<void> {
  await expect(stat(`${path}.consuming`)).rejects.toThrow();
  expect((await store.verify({ full: true })).problems).toEqual([]);
  await store.export(name, path);
  expect((await readFile(path)).equals(bytes)).toBe(true);
  expect((await store.status()).unfinished).toEqual([]);
}

describe.runIf(frees)("TareStore.add() that moves, beside a collection", () => {
  test("writes known weights again that a collection removed before they were freed", async () => {
    const at = await place();
    await age();
    await at.store.remove(["old"]);
    let removed = 0;
    beforeFree(async (call) => {
      if (call === 0) removed = (await at.store.gc()).blobs;
      else expect(removed).toBeGreaterThanOrEqual(COUNT);
    });
    await at.store.add([at.path], { move: true, moveStepBytes: 2 * SIZE });
    await expectWhole(at);
  });

  test("frees nothing if a blob is missing, and leaves the file as it was", async () => {
    const at = await place();
    await age();
    await at.store.remove(["old"]);
    beforeFree(async () => {
      await at.store.gc();
      expect((await readFile(`${at.path}.consuming`)).equals(at.bytes)).toBe(true);
      throw new RangeError("stopped");
    });
    await expect(at.store.add([at.path], { move: true })).rejects.toThrow("stopped");
    await at.store.gc();
    expect((await readFile(at.path)).equals(at.bytes)).toBe(true);
  });

  test("keeps what it freed from collections of other processes", async () => {
    const at = await place();
    await age();
    beforeFree(async (call) => {
      if (call === 0) await at.store.remove(["old"]);
      if (call > 0) await at.store.gc();
    });
    await at.store.add([at.path], { move: true, moveStepBytes: SIZE });
    await expectWhole(at);
  });

  test("resumes if its weights are in a shard that no model uses any more", async () => {
    const at = await place();
    await putInShard(at.store, "old");
    await at.store.gc();
    const stop = new AbortController();
    beforeFree(async (call) => {
      if (call === 2) stop.abort();
    });
    const options = { move: true, moveStepBytes: SIZE, signal: stop.signal };
    await expect(at.store.add([at.path], options)).rejects.toThrow(/abort/i);
    vi.restoreAllMocks();
    await age();
    await at.store.remove(["old"]);
    await at.store.gc();
    await at.store.add([at.path], { move: true });
    await expectWhole(at);
  });

  test("refuses to resume over a shard that was damaged, and says which weight", async () => {
    const at = await place();
    await putInShard(at.store, "old");
    await at.store.gc();
    const stop = new AbortController();
    beforeFree(async (call) => {
      if (call === 1) stop.abort();
    });
    await expect(
      at.store.add([at.path], { move: true, moveStepBytes: SIZE, signal: stop.signal }),
    ).rejects.toThrow();
    vi.restoreAllMocks();
    await age();
    const { manifest } = await readModel(at.store, "old");
    const layer = manifest.layers.find((each) => each.mediaType.includes("shard"));
    await at.store.remove(["old"]);
    await at.store.gc();
    const path = at.store.blobPath(layer?.digest as `sha256:${string}`);
    await chmod(path, 0o644);
    await writeFile(path, (await readFile(path)).fill(9));
    expect(await thrown(at.store.add([at.path], { move: true }))).toMatchObject({ code: "corrupted" });
  });
});
