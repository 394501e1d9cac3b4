import { mkdir, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { openFolder } from "../../src/node/model-folder.ts";
import { temporaryFolder } from "../support/temporary.ts";

describe("openFolder()", () => {
  async function folder(): Promise<string> {
    const root = await temporaryFolder();
    await mkdir(join(root, "model", "sub"), { recursive: true });
    await writeFile(join(root, "model", "m.onnx"), "m");
    await writeFile(join(root, "model", "w.bin"), "inside");
    await writeFile(join(root, "model", "sub", "ü w.bin"), "deeper");
    await writeFile(join(root, "secret"), "outside");
    return root;
  }

  test.each(["w.bin", "./w.bin", "sub/ü w.bin"])("opens %s", async (path) => {
    await using home = openFolder(join(await folder(), "model"), ["m.onnx"]);
    expect((await home.open(path))?.size).toBe(6);
  });

  test("says that a file is absent by undefined", async () => {
    await using home = openFolder(join(await folder(), "model"), ["m.onnx"]);
    expect(await home.open("no.bin")).toBeUndefined();
  });

  test.each([
    "../secret",
    "sub/../../secret",
    "/etc/passwd",
    "..",
    "",
    ".",
    "sub//w.bin",
    "a\0b",
    "C:\\w.bin",
    "sub\\w.bin",
  ])("refuses %j", async (path) => {
    await using home = openFolder(join(await folder(), "model"), ["m.onnx"]);
    await expect(home.open(path)).rejects.toMatchObject({ code: "unsafe-path" });
  });

  test("refuses links that lead outside, to files and through folders", async () => {
    const root = await folder();
    await symlink(join(root, "secret"), join(root, "model", "link.bin"));
    await symlink(root, join(root, "model", "up"));
    await using home = openFolder(join(root, "model"), ["m.onnx"]);
    await expect(home.open("link.bin")).rejects.toMatchObject({ code: "unsafe-path", path: "link.bin" });
    await expect(home.open("up/secret")).rejects.toMatchObject({ code: "unsafe-path" });
  });

  test("follows links into the folder where a linked model really lies (the Hugging Face cache)", async () => {
    const root = await folder();
    await mkdir(join(root, "blobs"));
    await mkdir(join(root, "snapshot"));
    await writeFile(join(root, "blobs", "a1"), "program");
    await writeFile(join(root, "blobs", "b2"), "weights");
    await symlink("../blobs/a1", join(root, "snapshot", "m.onnx"));
    await symlink("../blobs/b2", join(root, "snapshot", "m.onnx_data"));
    await using home = openFolder(join(root, "snapshot"), ["m.onnx"]);
    expect((await home.open("m.onnx_data"))?.size).toBe(7);
  });
});
