import { UsageError } from "../../errors.ts";

/** How names change: `*` in the pattern stands for any characters, and in the new name for what it stood for. */
export interface RenameRule {
  readonly pattern: string;
  readonly to: string;
}

/**
 * Parses a rule of the command line: `PATTERN=NAME`, such as `model.*=*`.
 * @throws UsageError for one without a `=`, or with more stars on its right
 */
export function parseRenameRule(text: string): RenameRule {
  const at = text.indexOf("=");
  const rule = { pattern: text.slice(0, Math.max(0, at)), to: text.slice(at + 1) };
  if (at > 0 && rule.to !== "" && stars(rule.to) <= stars(rule.pattern)) return rule;
  throw new UsageError("usage", `Cannot use the rule "${text}"`, {
    hint: 'a rule is PATTERN=NAME with at most as many * on its right, such as "model.*=*"',
  });
}

/** A name by the first rule that takes it; itself where none does. */
export function renamed(name: string, rules: readonly RenameRule[]): string {
  for (const { pattern, to } of rules) {
    const found = capture(pattern, name);
    if (!found) continue;
    const parts = to.split("*");
    return parts.map((part, index) => part + (index < parts.length - 1 ? (found[index] ?? "") : "")).join("");
  }
  return name;
}

/** What the stars of a pattern stand for, each as little as the next literal lets it, the last as much as there is. */
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
