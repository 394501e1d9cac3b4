import { mkdir, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { openModel } from "../../src/node/open-model.ts";
import { openStore } from "../../src/tare-store.ts";
import { safetensorsFile } from "../support/safetensors-file.ts";
import { temporaryFolder } from "../support/temporary.ts";
import { thrown } from "../support/thrown.ts";

/** A folder with a model, beside a secret. */
async function folderBesideSecret(): Promise<{ root: string; model: string; secret: string }> {
  const root = await temporaryFolder();
  const [model, secret] = [join(root, "model"), join(root, "secret.json")];
  await mkdir(join(model, "sub"), { recursive: true });
  await writeFile(join(model, "model.safetensors"), safetensorsFile(["w"]));
  await writeFile(secret, '{"password":1}');
  return { root, model, secret };
}

/** Paths of the files that are read with a model, and the notes. */
async function read(path: string): Promise<{ paths: string[]; notes: readonly string[] }> {
  await using opened = await openModel([path]);
  return { paths: opened.draft.files.map((file) => file.path), notes: opened.draft.notes ?? [] };
}

describe.skipIf(process.platform === "win32")("openModel()", () => {
  test("leaves out companions that are links out of the folder, and says so", async () => {
    const { root, model, secret } = await folderBesideSecret();
    await symlink(secret, join(model, "tokenizer.json"));
    await symlink("../secret.json", join(model, "config.json"));
    await symlink(root, join(model, "up"));
    await symlink("up/secret.json", join(model, "through.json"));
    const { paths, notes } = await read(model);
    expect(paths).toEqual(["model.safetensors"]);
    expect(notes).toEqual(
      ["config.json", "through.json", "tokenizer.json"].map(
        (name) => `left out "${name}": it is a link to "${secret}", outside of the folder`,
      ),
    );
    const store = await openStore({ path: join(root, "store") });
    expect((await store.add([model])).notes).toEqual(notes);
    expect((await store.export("model", join(root, "out"))).files).toEqual([join(root, "out")]);
  });

  test("follows links of companions within the folder", async () => {
    const { model } = await folderBesideSecret();
    await writeFile(join(model, "sub", "t.json"), "{}");
    await symlink("sub/t.json", join(model, "tokenizer.json"));
    expect(await read(model)).toEqual({ paths: ["model.safetensors", "tokenizer.json"], notes: [] });
  });

  test.each(["", "onnx"])(
    "follows the links of the Hugging Face cache into its blobs alone: %j",
    async (sub) => {
      const root = await temporaryFolder();
      const repository = join(root, "hub", "models--a--b");
      const snapshot = join(repository, "snapshots", "abc", sub);
      const up = sub === "" ? "../../blobs" : "../../../blobs";
      await mkdir(snapshot, { recursive: true });
      await mkdir(join(repository, "blobs"));
      await mkdir(join(root, "hub", "blobs"));
      await writeFile(join(repository, "blobs", "m"), safetensorsFile(["w"]));
      await writeFile(join(repository, "blobs", "c"), "{}");
      await writeFile(join(root, "hub", "blobs", "c"), "another repository's");
      await writeFile(join(repository, "refs.json"), "{}");
      await symlink(`${up}/m`, join(snapshot, "model.safetensors"));
      await symlink(`${up}/c`, join(snapshot, "config.json"));
      await symlink(`${up}/../../blobs/c`, join(snapshot, "other.json"));
      await symlink(`${up}/../refs.json`, join(snapshot, "refs.json"));
      const { paths, notes } = await read(snapshot);
      expect(paths).toEqual(["model.safetensors", "config.json"]);
      expect(notes.map((note) => /"(.*?)"/.exec(note)?.[1])).toEqual(["other.json", "refs.json"]);
    },
  );

  test("does not follow blobs of a cache that are a link", async () => {
    const { root, secret } = await folderBesideSecret();
    const repository = join(root, "models--a--b");
    await mkdir(join(repository, "snapshots", "abc"), { recursive: true });
    await symlink(root, join(repository, "blobs"));
    await writeFile(join(repository, "snapshots", "abc", "model.safetensors"), safetensorsFile(["w"]));
    await symlink("../../blobs/secret.json", join(repository, "snapshots", "abc", "config.json"));
    const { notes } = await read(join(repository, "snapshots", "abc"));
    expect(notes).toEqual([expect.stringContaining(`"${secret}"`)]);
  });

  test("refuses a model of a folder that is a link out of it, and takes a link that is named", async () => {
    const { root, model } = await folderBesideSecret();
    const linked = join(root, "linked");
    await mkdir(linked);
    await symlink("../model/model.safetensors", join(linked, "m.safetensors"));
    expect(await thrown(openModel([linked]))).toMatchObject({
      code: "unsafe-path",
      path: join(linked, "m.safetensors"),
      message: expect.stringContaining(join(model, "model.safetensors")),
    });
    expect((await read(join(linked, "m.safetensors"))).paths).toEqual(["m.safetensors"]);
    await symlink("nowhere", join(linked, "a.safetensors"));
    expect(await thrown(openModel([linked]))).toMatchObject({
      code: "unsafe-path",
      message: expect.stringContaining("no file"),
    });
  });

  test("takes a folder that is a link itself", async () => {
    const { root, model } = await folderBesideSecret();
    await writeFile(join(model, "config.json"), "{}");
    await symlink(model, join(root, "alias"));
    expect((await read(join(root, "alias"))).paths).toEqual(["model.safetensors", "config.json"]);
  });
});
