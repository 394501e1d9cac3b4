import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";

const ROOT = fileURLToPath(new URL("..", import.meta.url));
const PAGES = [
  ...readdirSync(ROOT).filter((name) => name.endsWith(".md")),
  ...readdirSync(join(ROOT, "docs"))
    .filter((name) => name.endsWith(".md"))
    .map((name) => `docs/${name}`),
];

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

  test("are all in docs/index.md", () => {
    const index = read("docs/index.md");
    const links = PAGES.map((page) => (page.startsWith("docs/") ? page.slice(5) : `../${page}`));
    expect(links.filter((link) => link !== "index.md" && !index.includes(`(${link}`))).toEqual([]);
  });

  test("SECURITY.md names code and tests that are there", () => {
    const text = read("SECURITY.md").replace(/\s+/g, " ");
    const paths = [...text.matchAll(/`((?:src|test)\/[^`]+)`/g)].map(([, path = ""]) => path);
    expect(paths.length).toBeGreaterThan(30);
    expect(paths.filter((path) => !existsSync(join(ROOT, path)))).toEqual([]);
    const named = [...text.matchAll(/`(test\/[^`]+)`((?: "[^"]+",?)+)/g)].flatMap(
      ([, path = "", titles = ""]) => {
        return [...titles.matchAll(/"([^"]+)"/g)].map(([, title = ""]) => ({ path, title }));
      },
    );
    expect(named.length).toBeGreaterThan(15);
    expect(named.filter(({ path, title }) => !read(path).replace(/\s+/g, " ").includes(title))).toEqual([]);
  });
});

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
