import { chmod, readdir, stat, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { LocalStore } from "../../src/local-store/local-store.ts";
import { requireBlob } from "../../src/store/require-model.ts";
import { counting, pieces } from "../support/bytes.ts";
import { describeStore } from "../support/store-compliance.ts";
import { temporaryFolder } from "../support/temporary.ts";
import { thrown } from "../support/thrown.ts";

const open = async (): Promise<LocalStore> => LocalStore.open(join(await temporaryFolder(), "store"));

describeStore("LocalStore", open);

describe("LocalStore.blobs", () => {
  async function stored(
    size: number,
  ): Promise<{ store: LocalStore; path: string; blob: { digest: `sha256:${string}`; size: number } }> {
    const store = await open();
    await using staged = await store.blobs.stage(pieces(counting(size), 10));
    const blob = { digest: staged.digest, size };
    await staged.commit(blob.digest);
    return { store, blob, path: store.blobPath(blob.digest) };
  }

  test("are read-only files that are sealed, and nothing else is left", async () => {
    const { store, path } = await stored(100);
    const { mode, mtimeMs } = await stat(path);
    expect([mode & 0o777, mtimeMs]).toEqual([0o444, 1_000_000_000_000]);
    expect(await readdir(join(store.name, "tmp"))).toEqual([]);
  });

  test("that were written to are not there, and are mended when they are stored again", async () => {
    const { store, path, blob } = await stored(100);
    await chmod(path, 0o644);
    await writeFile(path, counting(100, 1));
    expect(await store.blobs.has(blob)).toBe(false);
    expect(await thrown(requireBlob(store, blob, { tensor: "w" }))).toMatchObject({
      code: "corrupted",
      path,
      tensor: "w",
      message: expect.stringMatching(/its bytes have digest sha256:/),
      hint: expect.stringContaining("tare add replaces damaged blobs"),
    });
    await using staged = await store.blobs.stage(pieces(counting(100), 10));
    expect(await staged.commit(blob.digest)).toBe(true);
    expect(await store.blobs.has(blob)).toBe(true);
  });

  test("that rotted with their time kept are found when every byte is hashed", async () => {
    const { store, path, blob } = await stored(100);
    const { atime, mtime } = await stat(path);
    await chmod(path, 0o644);
    await writeFile(path, counting(100, 1));
    await utimes(path, atime, mtime);
    expect(await store.blobs.has(blob)).toBe(true);
    expect(await store.blobs.has(blob, { full: true })).toBe(false);
  });

  test("of a copied store are hashed once, then sealed", async () => {
    const { store, path, blob } = await stored(100);
    await utimes(path, new Date(), new Date());
    expect(await store.blobs.has(blob)).toBe(true);
    expect((await stat(path)).mtimeMs).toBe(1_000_000_000_000);
  });
});
