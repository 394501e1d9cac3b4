import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { beforeAll, describe, expect, test } from "vitest";
import { openStore, type TareStore } from "../../src/tare-store.ts";
import { CHARLM_GRAPHS, charlm } from "../support/charlm.ts";
import { temporaryFolder } from "../support/temporary.ts";
import { describeModel } from "../../src/operations/describe.ts";

let family: string;
beforeAll(async () => {
  family = await charlm();
});

async function skopeo(...args: readonly string[]): Promise<string> {
  return (await promisify(execFile)("skopeo", args)).stdout;
}

async function familyStore(): Promise<TareStore> {
  const store = await openStore({ path: join(await temporaryFolder(), "store") });
  for (const model of ["base", "kjv"]) await store.add([join(family, model)]);
  return store;
}

describe("skopeo", () => {
  test("inspects a model's manifest as it is", async () => {
    const store = await familyStore();
    const { digest } = await describeModel(store, "kjv");
    const raw = await skopeo("inspect", "--raw", `oci:${store.path}:kjv`);
    expect(`sha256:${createHash("sha256").update(raw).digest("hex")}`).toBe(digest);
    const config = JSON.parse(await skopeo("inspect", "--raw", "--config", `oci:${store.path}:kjv`));
    expect(config).toMatchObject({ version: 1, format: "onnx" });
    // Without --raw it describes images, and says that this is none; a later one may describe what they share.
    const said = await skopeo("inspect", `oci:${store.path}:kjv`).catch(
      (error: { stderr: string }) => error.stderr,
    );
    expect(said).toMatch(/operation on artifact|"Digest": "sha256:/);
  });

  test("copies models to another layout and back, byte for byte", async () => {
    const store = await familyStore();
    const folder = await temporaryFolder();
    for (const name of ["base", "kjv"]) {
      await skopeo("copy", "--quiet", `oci:${store.path}:${name}`, `oci:${join(folder, "copy")}:${name}`);
    }
    const copy = await openStore({ path: join(folder, "copy") });
    expect((await copy.verify({ full: true })).problems).toEqual([]);
    expect((await describeModel(copy, "kjv")).digest).toBe((await describeModel(store, "kjv")).digest);
    const { path } = await copy.export("kjv", join(folder, "out"));
    for (const graph of CHARLM_GRAPHS) {
      const [ours, theirs] = await Promise.all(
        [join(path, `${graph}.onnx`), join(family, "kjv", `${graph}.onnx`)].map((file) => readFile(file)),
      );
      expect(ours?.equals(theirs as Buffer)).toBe(true);
    }
    await skopeo("copy", "--quiet", `oci:${copy.path}:kjv`, `oci:${store.path}:back`);
    expect((await describeModel(store, "back")).digest).toBe((await describeModel(store, "kjv")).digest);
    expect((await store.verify({ full: true })).problems).toEqual([]);
  });

  test("may keep an image of its own in the store: gc leaves it alone", async () => {
    const store = await familyStore();
    const image = join(await temporaryFolder(), "image");
    await writeImage(image);
    await skopeo("copy", "--quiet", `oci:${image}:foreign`, `oci:${store.path}:foreign`);
    expect((await store.list()).map((model) => model.name)).toEqual(["base", "kjv"]);
    expect(await store.status()).toMatchObject({ models: 2, unusedBytes: 0 });
    expect(await store.verify({ full: true })).toMatchObject({ models: 2, problems: [] });
    await expect(describeModel(store, "foreign")).rejects.toMatchObject({ code: "not-found" });
    await expect(store.remove(["foreign"])).rejects.toMatchObject({ code: "not-found" });
    await expect(store.add([join(family, "licence")], { as: "foreign" })).rejects.toMatchObject({
      code: "name-taken",
    });
    await store.remove(["kjv"]);
    expect((await store.gc()).blobs).toBeGreaterThan(0);
    const manifest = JSON.parse(await skopeo("inspect", "--raw", `oci:${store.path}:foreign`)) as {
      layers: { digest: string }[];
    };
    const blobs = await readdir(join(store.path, "blobs", "sha256"));
    for (const { digest } of manifest.layers) expect(blobs).toContain(digest.slice(7));
    await skopeo("copy", "--quiet", `oci:${store.path}:foreign`, `oci:${image}:again`);
  });
});

/** Writes an image of one layer, tagged "foreign". */
async function writeImage(folder: string): Promise<void> {
  const store = await openStore({ path: folder });
  const put = async (bytes: string | Buffer): Promise<{ digest: string; size: number }> => {
    const hex = createHash("sha256").update(bytes).digest("hex");
    await writeFile(join(store.path, "blobs", "sha256", hex), bytes);
    return { digest: `sha256:${hex}`, size: Buffer.byteLength(bytes) };
  };
  const layer = await put(Buffer.alloc(1024));
  const diff = { type: "layers", diff_ids: [layer.digest] };
  const config = await put(JSON.stringify({ architecture: "amd64", os: "linux", rootfs: diff }));
  const oci = "application/vnd.oci.image";
  const manifest = await put(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: `${oci}.manifest.v1+json`,
      config: { mediaType: `${oci}.config.v1+json`, ...config },
      layers: [{ mediaType: `${oci}.layer.v1.tar`, ...layer }],
    }),
  );
  const entry = {
    mediaType: `${oci}.manifest.v1+json`,
    digest: manifest.digest,
    size: manifest.size,
    annotations: { "org.opencontainers.image.ref.name": "foreign" },
  };
  await writeFile(join(store.path, "index.json"), JSON.stringify({ schemaVersion: 2, manifests: [entry] }));
}
