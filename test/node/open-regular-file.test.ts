import { execFileSync } from "node:child_process";
import { once } from "node:events";
import { writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { openFileSource } from "../../src/node/file-source.ts";
import { openModel } from "../../src/node/open-model.ts";
import { readRegularFile } from "../../src/node/open-regular-file.ts";
import { temporaryFolder } from "../support/temporary.ts";
import { thrown } from "../support/thrown.ts";

describe("readRegularFile()", () => {
  test("reads a file, and says what is none", async () => {
    const folder = await temporaryFolder();
    await writeFile(join(folder, "a"), "text");
    expect(String(await readRegularFile(join(folder, "a")))).toBe("text");
    expect(await thrown(readRegularFile(folder))).toMatchObject({
      code: "io",
      path: folder,
      message: expect.stringContaining("it is a folder"),
    });
    expect(await thrown(readRegularFile(join(folder, "b")))).toMatchObject({ code: "not-found" });
  });
});

describe.skipIf(process.platform === "win32")("a file that is none", () => {
  test("is refused by name, and nobody waits for it: a named pipe", async () => {
    const folder = await temporaryFolder();
    const pipe = join(folder, "m.safetensors");
    execFileSync("mkfifo", [pipe]);
    for (const open of [() => openFileSource(pipe), () => openModel([pipe]), () => openModel([folder])]) {
      expect(await thrown(async () => open())).toMatchObject({
        code: "io",
        path: pipe,
        message: expect.stringContaining("it is a named pipe"),
      });
    }
  });

  test("is refused by name: a socket", async () => {
    const path = join(await temporaryFolder(), "m.onnx");
    const server = createServer().listen(path);
    await once(server, "listening");
    expect(await thrown(openFileSource(path))).toMatchObject({
      code: "io",
      message: expect.stringContaining("a socket"),
    });
    server.close();
    await once(server, "close");
  });

  test("is refused by name: a device", async () => {
    for (const path of ["/dev/null", "/dev/zero"])
      expect(await thrown(openModel([path]))).toMatchObject({
        path,
        message: expect.stringContaining("a device"),
      });
  });
});
