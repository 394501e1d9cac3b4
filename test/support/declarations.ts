import { readFileSync } from "node:fs";
import { dirname, resolve } from "node:path";

/** A name that a declaration file of `tsc` declares. */
export interface Declaration {
  /** Absolute. */
  readonly file: string;
  readonly name: string;
  /** Its statement without comments; overloads are several. */
  readonly text: string;
}

interface Origin {
  readonly file: string;
  readonly name: string;
}

interface Parsed {
  readonly declarations: ReadonlyMap<string, Declaration>;
  /** By the name in this file; of packages and of Node nothing is listed. */
  readonly imports: ReadonlyMap<string, Origin>;
  /** By the name that others see. */
  readonly reexports: ReadonlyMap<string, Origin>;
  /** Names of what is imported from packages. */
  readonly foreign: ReadonlyMap<string, string>;
}

const START = /^(?=(?:export|import|declare|abstract|interface|type|class|function|const|enum)\b)/m;
const NAME =
  /^(?:export )?(?:declare )?(?:abstract )?(?:interface|type|class|function|const|enum) ([A-Za-z_$][\w$]*)/;
const LIST = /^(?:import|export) (?:type )?\{([^}]*)\}(?: from "([^"]+)")?;/;
const parsed = new Map<string, Parsed>();

/** What a declaration file exports, by name. */
export function exportsOf(path: string): Map<string, Declaration> {
  const { declarations, reexports } = parse(path);
  const found = new Map<string, Declaration>();
  for (const [name, declaration] of declarations) {
    if (declaration.text.startsWith("export ")) found.set(name, declaration);
  }
  for (const [name, origin] of reexports) found.set(name, declarationOf(origin.file, origin.name));
  return found;
}

/** The declarations that a declaration names; what it takes from packages as texts. */
export function namedBy({ file, name, text }: Declaration): (Declaration | string)[] {
  const { declarations, imports, foreign } = parse(file);
  const bare = text.replaceAll(/"(?:[^"\\]|\\.)*"/g, '""');
  const words = new Set(
    [...bare.matchAll(/(?<![.#\w$])([A-Za-z_$][\w$]*)(?!\??:|[\w$])/g)].map(([, word = ""]) => word),
  );
  return [...words].flatMap((word): (Declaration | string)[] => {
    if (word === name) return [];
    const origin = imports.get(word);
    if (origin) return [declarationOf(origin.file, origin.name)];
    const own = declarations.get(word);
    if (own) return [own];
    const module = foreign.get(word);
    return module === undefined ? [] : [`${word} of ${module}`];
  });
}

/** What a name of a declaration file stands for, wherever it is declared. */
export function declarationOf(file: string, name: string): Declaration {
  const { declarations, imports, reexports } = parse(file);
  const own = declarations.get(name);
  if (own) return own;
  const further = reexports.get(name) ?? imports.get(name);
  if (!further) throw new Error(`${file} does not declare ${name}`);
  return declarationOf(further.file, further.name);
}

function parse(path: string): Parsed {
  const known = parsed.get(path);
  if (known) return known;
  const declarations = new Map<string, Declaration>();
  const imports = new Map<string, Origin>();
  const reexports = new Map<string, Origin>();
  const foreign = new Map<string, string>();
  for (const statement of withoutComments(readFileSync(path, "utf8")).split(START)) {
    const text = statement.trim();
    const [, list = "", module] = LIST.exec(text) ?? [];
    for (const [name, as] of names(list)) {
      if (module === undefined) continue;
      if (!module.startsWith(".")) foreign.set(as, module);
      else {
        const origin = { file: resolve(dirname(path), module.replace(/\.[jt]s$/, ".d.ts")), name };
        (text.startsWith("import") ? imports : reexports).set(as, origin);
      }
    }
    const [, star, from] = /^import (?:type )?\* as ([\w$]+) from "([^"]+)"/.exec(text) ?? [];
    if (star !== undefined && from !== undefined) foreign.set(star, from);
    const [, name] = NAME.exec(text) ?? [];
    if (name === undefined) continue;
    const before = declarations.get(name);
    declarations.set(name, { file: path, name, text: before ? `${before.text}\n${text}` : text });
  }
  const result = { declarations, imports, reexports, foreign };
  parsed.set(path, result);
  return result;
}

function names(list: string): [name: string, as: string][] {
  const items = list.split(",").map((item) => item.trim().replace(/^type /, ""));
  return items.filter(Boolean).map((item) => {
    const [name = "", as = name] = item.split(" as ");
    return [name, as];
  });
}

function withoutComments(text: string): string {
  return text
    .replaceAll(
      /("(?:[^"\\]|\\.)*"|`[^`]*`)|\/\*[^]*?\*\/|\/\/[^\n]*/g,
      (_, literal?: string) => literal ?? "",
    )
    .replaceAll(/^\s*\n/gm, "");
}
