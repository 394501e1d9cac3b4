import { execFile } from "node:child_process";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { expect, test } from "vitest";
import { temporaryFolder } from "../../support/temporary.ts";

const ROOT = fileURLToPath(new URL("../../../", import.meta.url));

test("the example of docs/compile.md does what it says", async () => {
  const page = await readFile(join(ROOT, "docs/compile.md"), "utf8");
  const [, example = ""] = /```ts\n(.*?)```/s.exec(page) ?? [];
  const folder = await temporaryFolder();
  // Node 20 runs no types and no `await using`; the example does not depend on when the sink is closed.
  const script = example
    .replace("await using ", "const ")
    .replaceAll(" as const", "")
    .replaceAll(/ from "tare\/(\w+)"/g, (_, entry: string) => ` from "${ROOT}dist/entries/${entry}.js"`);
  await writeFile(join(folder, "example.mjs"), script);
  const { stdout } = await promisify(execFile)(process.execPath, ["example.mjs"], { cwd: folder });
  const lines = stdout.trimEnd().split("\n");
  expect(lines.slice(0, -1)).toEqual([
    `decoder/kernel ${folder}/program-0.bin 0 4096`,
    `decoder/w ${folder}/foundation-0.bin 0 16`,
    `encoder/w ${folder}/foundation-0.bin 0 16`,
    "decoder/kernel 4096",
    "decoder/w 16",
    "encoder/w 16",
  ]);
  expect(lines.at(-1)).toMatch(
    /^Cannot use "memory" for "demo": missing: "decoder\/kernel", "decoder\/w"; not the same: "encoder\/w" \(sha256:/,
  );
});
