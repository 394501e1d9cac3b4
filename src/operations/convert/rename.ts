import { UsageError } from "../../errors.ts";

/** A change of names: `*` in the pattern matches any characters; `*` in the new name inserts the matched characters. */
export interface RenameRule {
  readonly pattern: string;
  readonly to: string;
}

/**
 * Parses a rule of the command line: `PATTERN=NAME`, such as `model.*=*`.
 * @throws UsageError for a rule without `=`, or with more stars in NAME than in PATTERN
 */
export function parseRenameRule(text: string): RenameRule {
  const at = text.indexOf("=");
  const rule = { pattern: text.slice(0, Math.max(0, at)), to: text.slice(at + 1) };
  if (at > 0 && rule.to !== "" && stars(rule.to) <= stars(rule.pattern)) return rule;
  throw new UsageError("usage", `Cannot use the rule "${text}"`, {
    hint: 'Write PATTERN=NAME with no more * in NAME than in PATTERN, such as "model.*=*"',
  });
}

/** Renames by the first rule that matches; keeps the name if none does. */
export function renamed(name: string, rules: readonly RenameRule[]): string {
  for (const { pattern, to } of rules) {
    const found = capture(pattern, name);
    if (!found) continue;
    const parts = to.split("*");
    return parts.map((part, index) => part + (index < parts.length - 1 ? (found[index] ?? "") : "")).join("");
  }
  return name;
}

/**
 * Matches a name with a pattern. Each star except the last takes as few characters as possible.
 * @returns the characters that each star matched; `undefined` if the name does not match
 */
function capture(pattern: string, name: string): string[] | undefined {
  const [first = "", ...literals] = pattern.split("*");
  if (!name.startsWith(first)) return undefined;
  if (literals.length === 0) return name === first ? [] : undefined;
  const found: string[] = [];
  let at = first.length;
  for (const [index, literal] of literals.entries()) {
    const last = index === literals.length - 1;
    const next = last ? name.length - literal.length : name.indexOf(literal, at);
    if (next < at || !name.startsWith(literal, next)) return undefined;
    found.push(name.slice(at, next));
    at = next + literal.length;
  }
  return found;
}

function stars(text: string): number {
  return text.split("*").length - 1;
}
