import { decodeString } from "./text-chunks.ts";
import { parseTextType, type TextType } from "./text-types.ts";

/** A global of the ml_program dialect whose value is to come from outside, or is a resource. */
export interface WeightGlobal {
  /** Its symbol: the name of the weight that it waits for. */
  readonly key: string;
  /** The resource that is its value; `undefined` for one that waits. */
  readonly resource: string | undefined;
  /** As it is typeText. */
  readonly typeText: string;
  /** What `typeText` says, where that has a size. */
  readonly type: TextType | undefined;
  /** Of its value, in bytes from the start of the file. */
  readonly start: number;
  readonly end: number;
}

const TYPE = String.raw`(?:tensor|vector)<[^"<>]*(?:<[^"<>]*>[^"<>]*)?>`;
const VALUE = String.raw`#[\w$.]+(?:<[^"<>]*(?:<[^"<>]*>[^"<>]*)*>)?`;
const RESOURCE = String.raw`dense_resource\s*<\s*(?:"((?:[^"\\]|\\.)*)"|([A-Za-z_][\w$.]*))\s*>`;
const GLOBAL = new RegExp(
  String.raw`ml_program\.global\s+(?:(?:public|private|nested)\s+)?(?:mutable\s+)?` +
    String.raw`@(?:"((?:[^"\\]|\\.)*)"|([\w$.-]+))\s*\(\s*(${VALUE}|${RESOURCE})(?:\s*:[^()"]*|\s*)\)\s*:\s*(${TYPE})`,
  "dy",
);
const EXTERN = "#ml_program.extern";

/** The name that a text gives to the value of all such globals: printers put it before the program. */
export function externAlias(definition: string): string | undefined {
  return /^(#[\w$.]+)\s*=\s*#ml_program\.extern$/.exec(definition)?.[1];
}

/**
 * Reads a global that starts at a place of a text.
 * @param start where in the file the text starts
 * @returns `undefined` for one with another value
 */
export function parseWeightGlobal(
  text: string,
  index: number,
  start: number,
  aliases: ReadonlySet<string>,
): WeightGlobal | undefined {
  GLOBAL.lastIndex = index;
  const found = GLOBAL.exec(text);
  const [, quoted, bare, value = "", quotedKey, bareKey, typeText = ""] = found ?? [];
  const range = found?.indices?.[3];
  if (!range) return undefined;
  const resource = quotedKey === undefined ? bareKey : decodeString(quotedKey);
  if (resource === undefined && !aliases.has(value) && value.replace(/<.*/s, "") !== EXTERN) return undefined;
  // Up to the parenthesis: the value may have its type behind it.
  const close = text.indexOf(")", range[1]);
  const key = quoted === undefined ? (bare as string) : decodeString(quoted);
  const type = parseTextType(typeText);
  return { key, resource, typeText, type, start: start + range[0], end: start + close };
}
