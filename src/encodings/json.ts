import { type ParseErrorCode, printParseErrorCode, visit } from "jsonc-parser";
import { type ErrorCode, fileErrors, type FormatError } from "../errors.ts";

/**
 * Longest text, in characters: longer than any sensible header or manifest, and well below the longest string of
 * JavaScript engines.
 */
const LONGEST = 128 * 1024 * 1024;
/** Deepest nesting: twice the 64 dimensions of a tensor, and safe for the parser's stack. */
const DEEPEST = 128;
/**
 * Longest key, in characters. JavaScript engines do not hash longer strings, and would compare each with all others.
 */
const MAX_KEY_LENGTH = 16_383;
/** Longest text whose faults are located, in characters: that takes many times its memory. */
const MAX_LOCATED_LENGTH = 1024 * 1024;
const QUOTE = 0x22;
const COMMA = 0x2c;
const BACKSLASH = 0x5c;
/** Each closing bracket is two after its opening one. */
const BRACE = 0x7b;
const BRACKET = 0x5b;

/** A fault of a text, and its index. */
interface Fault {
  readonly code: ErrorCode;
  readonly reason: string;
  readonly at: number;
}

/**
 * Parses JSON of RFC 8259, and refuses duplicate keys, which `JSON.parse` accepts.
 * A key `__proto__` is an ordinary property of the result: read it by `Object.entries` or `Object.hasOwn`.
 * @param name of the file, for errors
 * @param start offset of the text in that file, in bytes, for errors
 * @throws FormatError `malformed` (with the offset up to 1 Mi characters), `duplicate` with the offset; `too-large`
 * over 128 Mi characters or 128 levels, and for keys over 16,383 characters
 */
export function parseStrictJson(text: string, name: string, start = 0): unknown {
  const inFile = fileErrors({ name }, { verb: "parse", showOffset: true });
  if (text.length > LONGEST) {
    throw inFile("too-large", `its JSON has ${text.length} characters`);
  }
  const fail = ({ code, reason, at }: Fault): FormatError => {
    const offset = start + new TextEncoder().encode(text.slice(0, at)).byteLength;
    return inFile(code, reason, { offset });
  };
  // Before parsing, which would be too expensive for such texts.
  const fault = scan(text);
  if (fault?.code === "too-large") throw fail(fault);
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    const found = text.length > MAX_LOCATED_LENGTH ? undefined : locate(text);
    if (found) throw fail(found);
    throw inFile("malformed", "it is not JSON", { cause });
  }
  // After parsing: the scan misjudges keys of a text that is not JSON.
  if (fault) throw fail(fault);
  return value;
}

/** Scans a text once for the first duplicate key, and for nesting or keys over the limits. */
function scan(text: string): Fault | undefined {
  /** The keys of each open object, if it has any yet; `undefined` for lists. */
  const open: (Set<string> | "none" | undefined)[] = [];
  let twice: Fault | undefined;
  let wantsKey = false;
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (code === QUOTE) {
      const end = endOfString(text, at + 1);
      const known = wantsKey ? open.at(-1) : undefined;
      if (known) {
        if (end - at > MAX_KEY_LENGTH) {
          return { code: "too-large", reason: `it has a key of over ${MAX_KEY_LENGTH} characters`, at };
        }
        const key = keyOf(text.slice(at, end + 1));
        if (known === "none") open[open.length - 1] = new Set([key]);
        else if (known.has(key)) {
          twice ??= { code: "duplicate", reason: `it has the key "${key.slice(0, 80)}" twice`, at };
        } else known.add(key);
      }
      wantsKey = false;
      at = end;
    } else if (code === BRACE || code === BRACKET) {
      if (open.push(code === BRACE ? "none" : undefined) > DEEPEST) {
        return { code: "too-large", reason: `it is nested over ${DEEPEST} levels deep`, at };
      }
      wantsKey = code === BRACE;
    } else if (code === BRACE + 2 || code === BRACKET + 2) {
      open.pop();
      wantsKey = false;
    } else if (code === COMMA) wantsKey = open.at(-1) !== undefined;
  }
  return twice;
}

/** The index of a string's closing quote, or the end of the text. */
function endOfString(text: string, start: number): number {
  for (let from = start; ; ) {
    const end = text.indexOf('"', from);
    if (end < 0) return text.length;
    let escapes = 0;
    while (end - escapes > start && text.charCodeAt(end - escapes - 1) === BACKSLASH) escapes++;
    if (escapes % 2 === 0) return end;
    from = end + 1;
  }
}

/** Decodes a key; arbitrary for a text that is not JSON. */
function keyOf(quoted: string): string {
  if (!quoted.includes("\\")) return quoted.slice(1, -1);
  try {
    return JSON.parse(quoted) as string;
  } catch {
    return quoted;
  }
}

/** Locates the fault of a text; `undefined` if the visitor accepts it. */
function locate(text: string): Fault | undefined {
  let found: Fault | undefined;
  visit(
    text,
    {
      onError: (error: ParseErrorCode, at) => {
        found ??= { code: "malformed", reason: `it is not JSON (${printParseErrorCode(error)})`, at };
      },
    },
    { disallowComments: true, allowTrailingComma: false, allowEmptyContent: false },
  );
  return found;
}
