import { readdirSync, readFileSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { type Declaration, declarationOf, exportsOf, namedBy } from "./support/declarations.ts";

const ROOT = fileURLToPath(new URL("..", import.meta.url));
const DIST = join(ROOT, "dist");
/** Paths of the entries in `dist`, without ending, by what follows the package's name. */
const ENTRIES: Readonly<Record<string, string>> = {
  ".": "index",
  "./weights": "entries/weights",
  "./compile": "entries/compile",
  "./formats": "entries/formats",
  "./browser": "entries/browser",
};

/** Types that the authors of sources, backends and formats are given and hand on, and need not look into. */
const OPAQUE: readonly string[] = [
  // `openStore` of "tare" and `memoryStore` of "tare/browser" give one.
  "Store",
];

/** What the command line takes from elsewhere, and why no entry exports it. */
const CLI_ALONE: Readonly<Record<string, string>> = {
  parseStrictJson: "reads JSON that a command line has or names, and says where it is wrong",
  fileError: "words the system's error about a file that a command line names",
  noEngine: "says of `run` what `Runtime.load` says of loading",
};

describe("the entries", () => {
  test("are what package.json exports, with types", () => {
    const { exports } = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8")) as {
      exports: Record<string, unknown>;
    };
    const entries = Object.entries(ENTRIES).map(([name, path]) => {
      return [name, { types: `./dist/${path}.d.ts`, default: `./dist/${path}.js` }];
    });
    expect(exports).toEqual({ ...Object.fromEntries(entries), "./package.json": "./package.json" });
  });

  test.each(Object.entries(ENTRIES))("have a report of names and types: %s", async (_, path) => {
    const module = (await import(join(DIST, `${path}.js`))) as object;
    const declarations = [...exportsOf(join(DIST, `${path}.d.ts`))].sort(([a], [b]) => (a < b ? -1 : 1));
    const texts = declarations.map(([, { text }]) => `\n${text}\n`);
    const report = [`values: ${Object.keys(module).sort().join(" ")}\n`, ...texts].join("");
    await expect(report).toMatchFileSnapshot(`entries/${basename(path)}.api.txt`);
  });

  test.each(["./weights", "./compile", "./formats"])("export every type that they name: %s", (entry) => {
    const exported = new Map(
      [...exportsOf(join(DIST, `${ENTRIES[entry]}.d.ts`)).values()].map((each) => [idOf(each), each]),
    );
    const missing = [...exported.values()].flatMap((declaration) =>
      namedBy(declaration)
        .filter((named) => typeof named === "string" || (isType(named) && !exported.has(idOf(named))))
        .filter((named) => typeof named === "string" || !OPAQUE.includes(named.name))
        .map((named) => `${declaration.name} names ${typeof named === "string" ? named : named.name}`),
    );
    expect(missing).toEqual([]);
    expect([...exported.values()].flatMap(namedBy).length).toBeGreaterThan(exported.size);
  });
});

describe("the command line", () => {
  const exported = new Set(
    Object.values(ENTRIES).flatMap((path) => [...exportsOf(join(DIST, `${path}.d.ts`)).values()].map(idOf)),
  );
  const folder = join(DIST, "cli");
  const imports = readdirSync(folder, { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(".js"))
    .flatMap((name) => importsOf(join(folder, name)))
    .filter(({ file }) => !file.startsWith(`${folder}/`));

  test("imports functions and classes that an entry exports", () => {
    const others = imports.filter((each) => !exported.has(idOf(each))).map(({ name }) => name);
    expect([...new Set(others)].sort()).toEqual(Object.keys(CLI_ALONE).sort());
    expect(new Set(imports.map(({ name }) => name)).size).toBeGreaterThan(30);
  });

  test("imports nothing from a format's or an engine's folder", () => {
    expect(imports.filter(({ file }) => /\/dist\/(formats|engines)\/[^/]+\//.test(file))).toEqual([]);
  });
});

/** What a compiled module imports from others of the project: types are gone. */
function importsOf(path: string): Declaration[] {
  const lists = readFileSync(path, "utf8").matchAll(
    /(?:import|const) \{([^}]*)\} (?:from|= await import\() ?"(\.[^"]*)\.js"/g,
  );
  return [...lists].flatMap(([, list = "", module = ""]) =>
    list
      .split(",")
      .filter((item) => item.trim() !== "")
      .map((item) => {
        const [name = ""] = item.trim().split(/ as |: /);
        return declarationOf(resolve(dirname(path), `${module}.d.ts`), name);
      }),
  );
}

function idOf({ file, name }: Declaration): string {
  return `${file} ${name}`;
}

function isType({ text }: Declaration): boolean {
  return !/^(?:export )?declare (?:function|const)\b/.test(text);
}
