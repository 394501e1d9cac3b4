import { type ParseErrorCode, printParseErrorCode, visit } from "jsonc-parser";
import { FormatError } from "../errors.ts";

/** Past any header or manifest that makes sense, and well below the longest string that engines hold. */
const LONGEST = 128 * 1024 * 1024;
/** A tensor has at most 64 dimensions; this leaves as much again around it, and the parser's stack is safe. */
const DEEPEST = 128;
const QUOTE = 0x22;
const BACKSLASH = 0x5c;
/** Each opening one is two before the one that closes it. */
const BRACE = 0x7b;
const BRACKET = 0x5b;

/**
 * Parses JSON as RFC 8259 has it, and refuses what `JSON.parse` lets pass: a key that an object has twice.
 * A key `__proto__` is an ordinary property of the result: read it with `Object.entries` or `Object.hasOwn`.
 * @param name of the file, for errors
 * @param start where in that file the text starts, in bytes; errors count from there
 * @throws FormatError `malformed`, `duplicate` with the offset; `too-large` over 128 Mi characters or 128 levels
 */
export function parseStrictJson(text: string, name: string, start = 0): unknown {
  if (text.length > LONGEST) {
    throw new FormatError("too-large", `Cannot parse "${name}": its JSON has ${text.length} characters`, {
      path: name,
    });
  }
  try {
    // What is spelled as JSON.stringify spells it has no key twice: that is told several times faster than looked up.
    if (isShallow(text)) {
      const value: unknown = JSON.parse(text);
      if (JSON.stringify(value) === text) return value;
    }
  } catch {
    // The visitor says where.
  }
  checkKeys(text, name, start);
  try {
    return JSON.parse(text);
  } catch (cause) {
    // What the visitor lets pass and JSON does not.
    throw new FormatError("malformed", `Cannot parse "${name}": it is not JSON`, { path: name, cause });
  }
}

/** Whether a text is nested as deep as is let pass at most, if it is JSON. */
function isShallow(text: string): boolean {
  let depth = 0;
  let inString = false;
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (inString) {
      if (code === BACKSLASH) at++;
      else if (code === QUOTE) inString = false;
    } else if (code === QUOTE) inString = true;
    else if (code === BRACE || code === BRACKET) {
      if (++depth > DEEPEST) return false;
    } else if (code === BRACE + 2 || code === BRACKET + 2) depth--;
  }
  return true;
}

/** Goes over the text without building anything, up to the first thing that is wrong. */
function checkKeys(text: string, name: string, start: number): void {
  const keys: Set<string>[] = [];
  let depth = 0;
  const fail = (code: "malformed" | "duplicate" | "too-large", at: number, reason: string): FormatError => {
    const offset = start + new TextEncoder().encode(text.slice(0, at)).byteLength;
    return new FormatError(code, `Cannot parse "${name}" at byte ${offset}: ${reason}`, {
      path: name,
      offset,
    });
  };
  const enter = (at: number): void => {
    if (++depth > DEEPEST) throw fail("too-large", at, `it is nested over ${DEEPEST} levels deep`);
  };
  visit(
    text,
    {
      onObjectBegin: (at) => {
        enter(at);
        keys.push(new Set());
      },
      onObjectProperty: (key, at) => {
        const seen = keys.at(-1);
        if (seen?.has(key)) throw fail("duplicate", at, `it has the key "${key.slice(0, 80)}" twice`);
        seen?.add(key);
      },
      onObjectEnd: () => {
        depth--;
        keys.pop();
      },
      onArrayBegin: enter,
      onArrayEnd: () => {
        depth--;
      },
      onError: (error: ParseErrorCode, at) => {
        throw fail("malformed", at, `it is not JSON (${printParseErrorCode(error)})`);
      },
    },
    { disallowComments: true, allowTrailingComma: false, allowEmptyContent: false },
  );
}
