import { execFile } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { mkdir, rm, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { describe, expect, test } from "vitest";

const ROOT = fileURLToPath(new URL("..", import.meta.url));
const PAGES = [
  ...readdirSync(ROOT).filter((name) => name.endsWith(".md")),
  ...readdirSync(join(ROOT, "docs"))
    .filter((name) => name.endsWith(".md"))
    .map((name) => `docs/${name}`),
];
/** Folders of the project, and rooms of `src/`: a path in a page starts with one of these. */
const FOLDERS = ["src", "test", "docs", "examples", "fixtures", "bench", "demo", "scripts", ".ci", ".github"];
const ROOMS = readdirSync(join(ROOT, "src"));
/** Where the blocks of TypeScript are checked, over what the package ships. */
const BLOCKS = join(ROOT, "build/docs");
/** Names that a reader of a block has: declared for all blocks. */
const DECLARED = `
import type { Tensor, Tensors } from "tare";
import type { Format } from "tare/formats";
import type * as example from "../../examples/elementwise-backend.ts";
declare global {
  const bytes: Uint8Array;
  const input_ids: Tensor;
  const tensors: Tensors;
  const mine: Format;
  const ElementwiseBackend: typeof example.ElementwiseBackend;
}
`;

function read(path: string): string {
  return readFileSync(join(ROOT, path), "utf8");
}

describe("the pages", () => {
  test.each(PAGES)("%s links to pages, headings and files that are there", (page) => {
    const broken = [...read(page).matchAll(/\]\(([^)\s]+)\)/g)]
      .map(([, target = ""]) => target)
      .filter((target) => !/^https?:/.test(target) && !leadsSomewhere(page, target));
    expect(broken).toEqual([]);
  });

  test.each(PAGES)("%s names files and folders that are there", (page) => {
    expect(pathsOf(read(page)).filter((path) => !isThere(path))).toEqual([]);
  });

  test("are all in docs/index.md", () => {
    const index = read("docs/index.md");
    const links = PAGES.map((page) => (page.startsWith("docs/") ? page.slice(5) : `../${page}`));
    expect(links.filter((link) => link !== "index.md" && !index.includes(`(${link}`))).toEqual([]);
  });

  test("SECURITY.md names tests that are there", () => {
    const text = read("SECURITY.md").replace(/\s+/g, " ");
    expect(pathsOf(text).length).toBeGreaterThan(30);
    const named = [...text.matchAll(/`(test\/[^`]+)`((?: "[^"]+",?)+)/g)].flatMap(
      ([, path = "", titles = ""]) => {
        return [...titles.matchAll(/"([^"]+)"/g)].map(([, title = ""]) => ({ path, title }));
      },
    );
    expect(named.length).toBeGreaterThan(15);
    expect(named.filter(({ path, title }) => !read(path).replace(/\s+/g, " ").includes(title))).toEqual([]);
  });

  test("find a path that is not there, and no placeholder", () => {
    const text =
      "`src/io/hex.ts`, `io/hex.ts`, `src/attic/old.ts`, `io/old.ts`, `src/formats/NAME/`, `tmp/`\n";
    const paths = pathsOf(`${text}\`\`\`sh\ntare add docs/missing\n\`\`\`\n`);
    expect(paths).toEqual(["src/io/hex.ts", "io/hex.ts", "src/attic/old.ts", "io/old.ts"]);
    expect(paths.filter((path) => !isThere(path))).toEqual(["src/attic/old.ts", "io/old.ts"]);
  });

  test("have blocks of TypeScript that compile against what the package ships", async () => {
    expect(await compileBlocks(PAGES.map((page) => [page, read(page)]))).toEqual([]);
    const wrong = 'import { openStore } from "tare";\nawait (await openStore()).load("base");\n';
    expect(await compileBlocks([["docs/wrong.md", `# Wrong\n\n\`\`\`ts\n${wrong}\`\`\`\n`]])).toEqual([
      expect.stringMatching(/^docs\/wrong\.md:5: .*'load' does not exist/),
    ]);
  });
});

/** Compiles all blocks with one run of the compiler; gives its errors, at the lines of the pages. */
async function compileBlocks(pages: readonly (readonly [string, string])[]): Promise<string[]> {
  await rm(BLOCKS, { recursive: true, force: true });
  await mkdir(BLOCKS, { recursive: true });
  const settings = {
    extends: "../../tsconfig.json",
    // Without `paths`, the package's own name leads to its exports.
    compilerOptions: { paths: {}, noUnusedLocals: false, declaration: false, isolatedDeclarations: false },
    include: ["*.ts"],
  };
  await writeFile(join(BLOCKS, "tsconfig.json"), JSON.stringify(settings));
  await writeFile(join(BLOCKS, "declared.ts"), DECLARED);
  const places = new Map<string, { readonly page: string; readonly line: number }>();
  for (const [page, text] of pages) {
    for (const { index, 1: block = "" } of text.matchAll(/^```ts\n(.*?)^```$/gms)) {
      const name = `block-${places.size}.ts`;
      places.set(name, { page, line: text.slice(0, index).split("\n").length });
      await writeFile(join(BLOCKS, name), `${block}\nexport {};\n`);
    }
  }
  const tsc = join(ROOT, "node_modules/typescript/bin/tsc");
  const args = [tsc, "-p", BLOCKS, "--pretty", "false"];
  const output = await promisify(execFile)(process.execPath, args, { cwd: BLOCKS }).then(
    () => "",
    ({ stdout }: { stdout: string }) => stdout,
  );
  return output
    .split("\n")
    .filter((line) => line !== "" && !line.startsWith(" "))
    .map((line) =>
      line.replace(/^(?:.*\/)?(block-\d+\.ts)\((\d+),\d+\)/, (given, name: string, nth: string) => {
        const place = places.get(name);
        return place ? `${place.page}:${place.line + Number(nth)}` : given;
      }),
    );
}

/** Paths of the project in a page's running text: in backquotes, without placeholders such as NAME. */
function pathsOf(text: string): string[] {
  const prose = text.replace(/^```.*?^```$/gms, "");
  return [...prose.matchAll(/`([\w.@-]+(?:\/[\w.@-]+)*\/?)`/g)]
    .map(([, path = ""]) => path)
    .filter((path) => path.includes("/") && !/\b[A-Z]{3,}\b/.test(path.replace(/\.md$/, "")))
    .filter((path) => {
      const [first = ""] = path.split("/");
      return FOLDERS.includes(first) || (ROOMS.includes(first) && !first.includes("."));
    });
}

function isThere(path: string): boolean {
  return existsSync(join(ROOT, path)) || existsSync(join(ROOT, "src", path));
}

function leadsSomewhere(page: string, target: string): boolean {
  const [path = "", heading] = target.split("#");
  const file = path === "" ? page : join(dirname(page), path);
  if (!existsSync(join(ROOT, file))) return false;
  if (heading === undefined) return true;
  return [...read(file).matchAll(/^#+ (.*)$/gm)].some(([, title = ""]) => slug(title) === heading);
}

/** How a heading is called in a link. */
function slug(title: string): string {
  return title
    .toLowerCase()
    .replace(/[^\p{L}\p{N}\s_-]/gu, "")
    .replace(/\s/g, "-");
}
