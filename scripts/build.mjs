// Builds `dist` from `src`. Tests, benchmarks and the demo run on what is shipped: worker threads load compiled files.
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { chmod, mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { lock } from "proper-lockfile";

const ROOT = fileURLToPath(new URL("..", import.meta.url));
const DIST = join(ROOT, "dist");
/** Says which sources `dist` was built from, and what it was then. */
const STAMP = join(ROOT, "build", "dist.stamp");
const SETTINGS = ["tsconfig.json", "tsconfig.build.json", "package-lock.json"];

/**
 * Compiles the sources unless `dist` has what they give. Processes that ask at once wait for one of them.
 * @returns {Promise<string>} hash of the sources
 */
export async function build() {
  await mkdir(join(ROOT, "build"), { recursive: true });
  const release = await lock(join(ROOT, "build"), {
    lockfilePath: join(ROOT, "build", "dist.lock"),
    retries: { retries: 1200, factor: 1, minTimeout: 100, maxTimeout: 100 },
  });
  try {
    const sources = await hash([...SETTINGS, ...(await filesOf("src"))]);
    const stamp = await readFile(STAMP, "utf8").catch(() => "");
    if (stamp === `${sources} ${await hash(await filesOf("dist"))}`) return sources;
    await rm(STAMP, { force: true });
    await rm(DIST, { recursive: true, force: true });
    const tsc = join(ROOT, "node_modules", "typescript", "bin", "tsc");
    const child = spawn(process.execPath, [tsc, "-p", "tsconfig.build.json"], {
      cwd: ROOT,
      stdio: "inherit",
    });
    const [code] = await once(child, "exit");
    if (code !== 0) throw new Error("Cannot build dist: the sources do not compile");
    // `npx tare` runs it in a checkout, where npm set the mode of the first build only.
    await chmod(join(DIST, "cli", "main.js"), 0o755);
    await writeFile(STAMP, `${sources} ${await hash(await filesOf("dist"))}`);
    return sources;
  } finally {
    await release();
  }
}

/** Paths of the files in a folder of the project, in order; none where it does not exist. */
async function filesOf(folder) {
  const entries = await readdir(join(ROOT, folder), { withFileTypes: true, recursive: true }).catch(() => []);
  const files = entries.filter((entry) => entry.isFile());
  return files.map((entry) => join(entry.parentPath ?? entry.path, entry.name).slice(ROOT.length)).sort();
}

async function hash(paths) {
  const sum = createHash("sha256");
  for (const path of paths) {
    const bytes = await readFile(join(ROOT, path));
    sum.update(`${path}\0${bytes.byteLength}\0`).update(bytes);
  }
  return sum.digest("hex");
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) {
  await build().catch((error) => {
    console.error(error.message);
    process.exitCode = 1;
  });
}
