/** Characters that a terminal acts on or does not show: controls, format characters (bidi, zero width), lone surrogates. */
const UNPRINTABLE = /[^\P{C}\n]|[\p{Zl}\p{Zp}\p{Default_Ignorable_Code_Point}]/gu;

/**
 * Escapes the characters of a text that a terminal acts on or does not show, as `\u001b`. Keeps newlines. In a JSON text, the
 * escapes are those of JSON, so that every string keeps its value.
 */
export function printable(text: string): string {
  return text.replace(UNPRINTABLE, escape);
}

/** Escapes newlines too: for a name or message that is a part of a line. */
export function printableLine(text: string): string {
  return printable(text).replaceAll("\n", escape);
}

/** Escapes only controls, except tabs and line ends: for running text, which may have emoji and any script. */
export function printableProse(text: string): string {
  return text.replace(/[^\P{Cc}\n\r\t]/gu, escape);
}

/** Escapes each UTF-16 code unit of a character. */
function escape(character: string): string {
  return character
    .split("")
    .map((unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`)
    .join("");
}
