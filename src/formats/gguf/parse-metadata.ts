import type { GgufCursor } from "./cursor.ts";
import { shorten } from "../../errors.ts";
import { MAX_ARRAY_DEPTH, type GgufType, MAX_NAME_LENGTH, VALUE_BYTES, VALUE_TYPES } from "./schema.ts";
import { GgufArray, type GgufEntry, type GgufValue, scalarAt, textOf } from "./values.ts";

/** Smallest entry: a length, a key of one byte, a type, a value of one byte. */
export const MIN_ENTRY_BYTES = 14;
/** Smallest array: type and length. */
const MIN_ARRAY_BYTES = 12;

/**
 * Parses the metadata. Arrays are checked once and not copied.
 * @throws FormatError `malformed`, `duplicate`, `too-large`
 */
export function parseMetadata(cursor: GgufCursor, count: number): GgufEntry[] {
  const entries: GgufEntry[] = [];
  const keys = new Set<string>();
  for (let index = 0; index < count; index++) {
    const start = cursor.at;
    const key = parseName(cursor, `key ${index}`);
    if (key === "") throw cursor.fail("malformed", `key ${index} is empty`, { offset: start });
    if (keys.has(key)) {
      throw cursor.fail("duplicate", `it has the key "${shorten(key)}" twice`, { offset: start });
    }
    keys.add(key);
    const type = parseType(cursor, key);
    entries.push({ key, type, value: parseValue(cursor, type, key) });
  }
  return entries;
}

/**
 * Reads a name, and refuses one with a NUL: llama.cpp ends names there, and would read another name.
 * @throws FormatError `malformed`, `too-large`
 */
export function parseName(cursor: GgufCursor, what: string): string {
  const start = cursor.at;
  const name = textOf(cursor.string(what, MAX_NAME_LENGTH));
  if (typeof name !== "string") throw cursor.fail("malformed", `${what} is not UTF-8`, { offset: start });
  if (name.includes("\0")) throw cursor.fail("malformed", `${what} has a NUL in it`, { offset: start });
  return name;
}

function parseType(cursor: GgufCursor, key: string): GgufType {
  const start = cursor.at;
  const number = cursor.uint32(`the type of "${shorten(key)}"`);
  const type = VALUE_TYPES[number]?.[0];
  if (!type) throw cursor.fail("malformed", `"${shorten(key)}" has the type ${number}`, { offset: start });
  return type;
}

function parseValue(cursor: GgufCursor, type: GgufType, key: string): GgufValue {
  const what = `"${shorten(key)}"`;
  if (type === "string") return textOf(cursor.string(what));
  if (type === "array") {
    const { element, length, start } = skipArray(cursor, key, 1);
    return new GgufArray(element, length, cursor.bytes.subarray(start, cursor.at));
  }
  const start = cursor.at;
  skipFixed(cursor, type, 1, what);
  return scalarAt(cursor.view, start, type);
}

function skipArray(
  cursor: GgufCursor,
  key: string,
  depth: number,
): { element: GgufType; length: number; start: number } {
  const what = `"${shorten(key)}"`;
  if (depth > MAX_ARRAY_DEPTH) {
    throw cursor.fail("too-large", `${what} is nested over ${MAX_ARRAY_DEPTH} arrays deep`, {
      offset: cursor.at,
    });
  }
  const element = parseType(cursor, key);
  const least = VALUE_BYTES.get(element) ?? (element === "string" ? 8 : MIN_ARRAY_BYTES);
  const length = cursor.count(`the length of ${what}`, least);
  const start = cursor.at;
  if (element === "string") cursor.skipStrings(length, what);
  else if (element === "array") {
    for (let index = 0; index < length; index++) skipArray(cursor, key, depth + 1);
  } else skipFixed(cursor, element, length, what);
  return { element, length, start };
}

function skipFixed(cursor: GgufCursor, type: GgufType, count: number, what: string): void {
  const start = cursor.at;
  const bytes = cursor.take(count * (VALUE_BYTES.get(type) as number), what);
  if (type !== "bool") return;
  const odd = bytes.findIndex((byte) => byte > 1);
  if (odd < 0) return;
  // The specification: "Anything else is invalid". Such a value could not be written back.
  throw cursor.fail("malformed", `${what} has a bool that is ${bytes[odd]}`, { offset: start + odd });
}
