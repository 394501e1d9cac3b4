import { execFile } from "node:child_process";
import { appendFile, cp, readFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { describe, expect, test } from "vitest";
import { temporaryFolder } from "./support/temporary.ts";

const ROOT = fileURLToPath(new URL("..", import.meta.url));

async function draw(root: string, ...options: readonly string[]): Promise<void> {
  await promisify(execFile)(process.execPath, [join(root, "scripts/draw-architecture.mjs"), ...options]);
}

describe("docs/architecture.svg", () => {
  test("is what the imports in src/ say (npm run docs:rooms draws it)", async () => {
    await draw(ROOT, "--check");
  });

  test("fails the check when a room imports another one, until it is drawn again", async () => {
    const root = await temporaryFolder();
    for (const name of ["docs/architecture.svg", "scripts", "src"])
      await cp(join(ROOT, name), join(root, name), { recursive: true });
    await appendFile(join(root, "src/picture/svg.ts"), '\nimport "../io/hex.ts";\n');
    await expect(draw(root, "--check")).rejects.toThrow("npm run docs:rooms");
    await draw(root);
    await draw(root, "--check");
    expect(await readFile(join(root, "docs/architecture.svg"), "utf8")).toContain("\npicture imports io\n");
  });
});
