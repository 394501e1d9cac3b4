import type { TareError } from "../errors.ts";

/** Syntax tree of a regular expression. */
export type PatternNode =
  | { readonly kind: "one"; readonly test: (character: string) => boolean }
  | { readonly kind: "at"; readonly test: (text: readonly string[], at: number) => boolean }
  | { readonly kind: "sequence"; readonly parts: readonly PatternNode[] }
  | { readonly kind: "either"; readonly parts: readonly PatternNode[] }
  | {
      readonly kind: "repeat";
      readonly part: PatternNode;
      readonly least: number;
      readonly most: number;
    };

/** Makes the error for a pattern that is not supported. */
export type PatternRefusal = (reason: string) => TareError;

/** Limit of nested groups. */
const MAX_DEPTH = 50;
/** Limit of repeats of one part. */
const MAX_REPEATS = 1000;

type Test = (character: string) => boolean;

const isWord: Test = (character) => /^[\p{L}\p{N}_]$/u.test(character);
const isDigit: Test = (character) => /^\p{Nd}$/u.test(character);
const isSpace: Test = (character) => /^\s$/u.test(character);
const not =
  (test: Test): Test =>
  (character) =>
    !test(character);
const CLASSES: Readonly<Record<string, Test>> = {
  w: isWord,
  W: not(isWord),
  d: isDigit,
  D: not(isDigit),
  s: isSpace,
  S: not(isSpace),
};
const CONTROLS: Readonly<Record<string, string>> = {
  n: "\n",
  t: "\t",
  r: "\r",
  f: "\f",
  v: "\v",
  a: "\u0007",
};

type At = (text: readonly string[], at: number) => boolean;

const atStart: At = (_, at) => at === 0;
const atEnd: At = (text, at) => at === text.length;
const atLine: At = (text, at) => atEnd(text, at) || (at === text.length - 1 && text[at] === "\n");
const atWord: At = (text, at) => isWord(text[at - 1] ?? "") !== isWord(text[at] ?? "");
const PLACES: Readonly<Record<string, At>> = {
  A: atStart,
  Z: atEnd,
  b: atWord,
  B: (text, at) => !atWord(text, at),
};

/**
 * Parses a regular expression of Python's `re`: literals, `.`, classes, groups, `|`, repeats, `^`, `$`, `\b`.
 * @throws the error of `refuse`, for look-around, back-references, flags and invalid expressions
 */
export function parsePattern(pattern: string, refuse: PatternRefusal): PatternNode {
  const reader = new PatternReader([...pattern], refuse);
  const node = reader.either(0);
  if (!reader.done) throw refuse('with a ")" without "("');
  return node;
}

class PatternReader {
  readonly #text: readonly string[];
  readonly #refuse: PatternRefusal;
  #at = 0;

  constructor(text: readonly string[], refuse: PatternRefusal) {
    this.#text = text;
    this.#refuse = refuse;
  }

  get done(): boolean {
    return this.#at === this.#text.length;
  }

  either(depth: number): PatternNode {
    if (depth > MAX_DEPTH) throw this.#refuse(`with over ${MAX_DEPTH} nested groups`);
    const parts = [this.#sequence(depth)];
    while (this.#take("|")) parts.push(this.#sequence(depth));
    return parts.length === 1 ? (parts[0] as PatternNode) : { kind: "either", parts };
  }

  #sequence(depth: number): PatternNode {
    const parts: PatternNode[] = [];
    while (!this.done && !this.#sees("|") && !this.#sees(")")) parts.push(this.#repeated(depth));
    return { kind: "sequence", parts };
  }

  #repeated(depth: number): PatternNode {
    const part = this.#single(depth);
    const count = this.#count();
    if (!count) return part;
    if (part.kind === "at") throw this.#refuse("that repeats a position, not a character");
    if (this.#sees("+")) throw this.#refuse("with a possessive repeat");
    // Lazy and greedy repeats match the same names.
    this.#take("?");
    if (this.#count()) throw this.#refuse("with a repeat of a repeat");
    return { kind: "repeat", part, ...count };
  }

  #count(): { readonly least: number; readonly most: number } | undefined {
    if (this.#take("*")) return { least: 0, most: Number.POSITIVE_INFINITY };
    if (this.#take("+")) return { least: 1, most: Number.POSITIVE_INFINITY };
    if (this.#take("?")) return { least: 0, most: 1 };
    if (!this.#sees("{")) return undefined;
    // A brace that does not start a repeat is a literal brace.
    const [whole, first, comma, last] =
      /^\{(\d*)(,?)(\d*)\}/.exec(this.#text.slice(this.#at, this.#at + 24).join("")) ?? [];
    if (whole === undefined || (first === "" && comma === "")) return undefined;
    this.#at += whole.length;
    const least = Number(first);
    const most = comma === "" ? least : last === "" ? Number.POSITIVE_INFINITY : Number(last);
    const bounded = most === Number.POSITIVE_INFINITY ? least : most;
    if (least > most || bounded > MAX_REPEATS) throw this.#refuse(`with the repeat ${whole}`);
    return { least, most };
  }

  #single(depth: number): PatternNode {
    const character = this.#next();
    switch (character) {
      case "(":
        return this.#group(depth);
      case "[":
        return { kind: "one", test: this.#set() };
      case ".":
        return { kind: "one", test: (each) => each !== "\n" };
      case "^":
        return { kind: "at", test: atStart };
      case "$":
        return { kind: "at", test: atLine };
      case "\\":
        return this.#escape();
      case "*":
      case "+":
      case "?":
        throw this.#refuse("that repeats nothing");
      default:
        return { kind: "one", test: (each) => each === character };
    }
  }

  #group(depth: number): PatternNode {
    if (this.#take("?") && !this.#take(":")) {
      const name = /^P<[A-Za-z_]\w*>/.exec(this.#text.slice(this.#at, this.#at + 100).join(""))?.[0];
      if (name === undefined) throw this.#refuse(`with "(?${this.#text[this.#at] ?? ""}"`);
      this.#at += name.length;
    }
    const node = this.either(depth + 1);
    if (!this.#take(")")) throw this.#refuse("with a group that does not end");
    return node;
  }

  #escape(): PatternNode {
    const character = this.#next();
    const place = Object.hasOwn(PLACES, character) ? PLACES[character] : undefined;
    if (place) return { kind: "at", test: place };
    return { kind: "one", test: this.#escaped(character) };
  }

  #escaped(character: string): Test {
    if (Object.hasOwn(CLASSES, character)) return CLASSES[character] as Test;
    const literal = Object.hasOwn(CONTROLS, character) ? (CONTROLS[character] as string) : character;
    if (literal === character && /^[A-Za-z0-9]$/.test(character)) {
      throw this.#refuse(`with "\\${character}"`);
    }
    return (each) => each === literal;
  }

  #set(): Test {
    const negated = this.#take("^");
    const tests: Test[] = [];
    // A bracket at the start of a set is a literal.
    for (let first = true; first || !this.#sees("]"); first = false) {
      const [from, test] = this.#member();
      if (!this.#sees("-") || this.#text[this.#at + 1] === "]") {
        tests.push(test);
        continue;
      }
      this.#at++;
      const [to] = this.#member();
      const low = from?.codePointAt(0);
      const high = to?.codePointAt(0);
      if (low === undefined || high === undefined || low > high) throw this.#refuse("with a bad range");
      tests.push((each) => {
        const point = each.codePointAt(0) as number;
        return point >= low && point <= high;
      });
    }
    this.#at++;
    const any: Test = (each) => tests.some((test) => test(each));
    return negated ? not(any) : any;
  }

  /** Reads an item of a set. Returns its character if it is a single one. */
  #member(): readonly [string | undefined, Test] {
    const character = this.#next();
    if (character !== "\\") return [character, (each) => each === character];
    const escaped = this.#next();
    if (escaped === "b") return ["\b", (each) => each === "\b"];
    const test = this.#escaped(escaped);
    const literal = Object.hasOwn(CONTROLS, escaped) ? CONTROLS[escaped] : escaped;
    return [Object.hasOwn(CLASSES, escaped) ? undefined : literal, test];
  }

  #sees(character: string): boolean {
    return this.#text[this.#at] === character;
  }

  #take(character: string): boolean {
    if (!this.#sees(character)) return false;
    this.#at++;
    return true;
  }

  #next(): string {
    const character = this.#text[this.#at];
    if (character === undefined) throw this.#refuse("that is incomplete");
    this.#at++;
    return character;
  }
}
