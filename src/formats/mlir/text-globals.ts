import { decodeString } from "./text-chunks.ts";
import { parseTextType, type TextType } from "./text-types.ts";

/** A global of the ml_program dialect whose value is external, or a resource. */
export interface WeightGlobal {
  /** Its symbol, which is the name of its weight. */
  readonly key: string;
  /** The resource that is its value; `undefined` for an extern global. */
  readonly resource: string | undefined;
  /** Its type, as written. */
  readonly typeText: string;
  /** The parsed {@link typeText}; `undefined` for a type without a size. */
  readonly type: TextType | undefined;
  /** Range of its value, in bytes from the start of the file. */
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

/** The alias of `#ml_program.extern` in a definition. Printers put definitions before the program. */
export function externAlias(definition: string): string | undefined {
  return /^(#[\w$.]+)\s*=\s*#ml_program\.extern$/.exec(definition)?.[1];
}

/**
 * Parses the global at an index of a text.
 * @param start offset of the text in the file, in bytes
 * @returns `undefined` for a global with another value
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
  // Up to the parenthesis: a type may follow the value.
  const close = text.indexOf(")", range[1]);
  const key = quoted === undefined ? (bare as string) : decodeString(quoted);
  const type = parseTextType(typeText);
  return { key, resource, typeText, type, start: start + range[0], end: start + close };
}
