import prettyBytes from "pretty-bytes";

/** Formats a size in bytes for people: `12.9 MB`. */
export function figure(bytes: number): string {
  return prettyBytes(bytes);
}

/** Formats a count: `1 model`, `3 models`. */
export function counted(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? "" : "s"}`;
}

/**
 * Escapes text for XML and HTML, as content and in quoted attributes. Replaces characters that XML 1.0 does not allow, and
 * characters that reorder or break lines, with U+FFFD, because names may be hostile.
 */
export function escapeXml(text: string): string {
  return text.replace(UNFIT, "\uFFFD").replace(/[&<>"']/g, (char) => ENTITIES[char] ?? char);
}

// Controls, lone surrogates, line separators and direction marks.
const UNFIT = /[\p{Cc}\p{Cs}\p{Zl}\p{Zp}\u061C\u200E\u200F\u202A-\u202E\u2066-\u2069\uFFFE\uFFFF]/gu;
const ENTITIES: Readonly<Record<string, string>> = {
  "&": "&amp;",
  "<": "&lt;",
  ">": "&gt;",
  '"': "&quot;",
  "'": "&#39;",
};

/** Estimates the width of sans-serif text in pixels, because no font can be measured here. */
export function textWidth(text: string, size: number): number {
  let ems = 0;
  for (const char of text) ems += charWidth(char);
  return ems * size;
}

/** Shortens text to a width with an ellipsis in its middle, because names differ at both ends. */
export function fitText(text: string, size: number, width: number): string {
  if (textWidth(text, size) <= width) return text;
  const chars = [...text];
  let kept = Math.min(chars.length - 1, Math.ceil(width / (NARROWEST * size)));
  const shortened = (): string =>
    `${chars.slice(0, Math.ceil(kept / 2)).join("")}…${chars.slice(chars.length - Math.floor(kept / 2)).join("")}`;
  while (kept > 1 && textWidth(shortened(), size) > width) kept -= 1;
  return shortened();
}

/** Shortens text so that its escaped form takes about `limit` bytes or fewer. */
export function clipText(text: string, limit: number): string {
  let cost = 0;
  let clipped = "";
  for (const char of text) {
    cost += ENTITIES[char]?.length ?? (char < "\u0080" ? 1 : 4);
    if (cost > limit) return `${clipped}…`;
    clipped += char;
  }
  return clipped;
}

const NARROWEST = 0.32;

function charWidth(char: string): number {
  if ((char.codePointAt(0) ?? 0) >= 0x1100) return 1;
  if (/[iljtfrI.,:;'|!()[\]/ ]/.test(char)) return NARROWEST;
  if (/[mwMW@%]/.test(char)) return 0.88;
  return /[A-Z_]/.test(char) ? 0.66 : 0.56;
}
