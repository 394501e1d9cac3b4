import { type PatternNode, type PatternRefusal, parsePattern } from "./parse-pattern.ts";

/** Limit of an expression, longer than any name of a module. */
const MAX_PATTERN_LENGTH = 2000;
/** Limit of states, since repeats such as `{2,100}` are expanded. */
const MAX_STATES = 5000;

/** A regular expression for names of modules. */
export interface NamePattern {
  /** Largest number of steps for each character of a name. */
  readonly states: number;
  matches(name: string): boolean;
}

/** A state of the machine; `next` and `other` are indexes of states. */
type Step =
  | { readonly kind: "one"; readonly test: (character: string) => boolean }
  | { readonly kind: "at"; readonly test: (text: readonly string[], at: number) => boolean }
  | { readonly kind: "fork"; next: number; other: number }
  | { readonly kind: "end" };

/**
 * Compiles a pattern of PEFT's `rank_pattern` or `alpha_pattern`, which matches like `re.match(rf"(.*\.)?({pattern})$")` of
 * Python. Follows all branches at once, so that a match takes at most states × characters of time and never backtracks.
 * Refuses look-around, back-references and flags.
 * Source: get_pattern_key of https://github.com/huggingface/peft/blob/main/src/peft/utils/other.py
 * @param refuse makes the error for a reason
 * @throws the error of `refuse`, for over 2,000 characters or 5,000 states, and for unsupported syntax
 */
export function compileNamePattern(pattern: string, refuse: PatternRefusal): NamePattern {
  if (pattern.length > MAX_PATTERN_LENGTH) throw refuse(`over ${MAX_PATTERN_LENGTH} characters`);
  // Plain names need no machine, and adapters may have one for each module.
  if (/^\^?[\w.-]+$/.test(pattern)) return plainName(pattern);
  const steps: Step[] = [];
  emit(parsePattern(`(.*\\.)?(${pattern})$`, refuse), steps, refuse);
  steps.push({ kind: "end" });
  return { states: steps.length, matches: (name) => run(steps, [...name]) };
}

/** Matches a name in which `.` stands for any character. */
function plainName(pattern: string): NamePattern {
  const anchored = pattern.startsWith("^");
  const wanted = pattern.slice(anchored ? 1 : 0).split("");
  return {
    states: 1,
    matches(name) {
      const text = [...name.replace(/\n$/, "")];
      const from = text.length - wanted.length;
      if (from < 0 || (from > 0 && (anchored || text[from - 1] !== "."))) return false;
      if (text.slice(0, from).includes("\n")) return false;
      return wanted.every((each, at) => (each === "." ? text[from + at] !== "\n" : each === text[from + at]));
    },
  };
}

function emit(node: PatternNode, steps: Step[], refuse: PatternRefusal): void {
  if (steps.length > MAX_STATES) throw refuse(`over ${MAX_STATES} states`);
  switch (node.kind) {
    case "one":
    case "at":
      steps.push(node);
      return;
    case "sequence":
      for (const part of node.parts) emit(part, steps, refuse);
      return;
    case "either":
      emitEither(node.parts, steps, refuse);
      return;
    case "repeat":
      emitRepeat(node.part, node.least, node.most, steps, refuse);
  }
}

function emitEither(parts: readonly PatternNode[], steps: Step[], refuse: PatternRefusal): void {
  const jumps: { next: number; other: number }[] = [];
  parts.forEach((part, index) => {
    if (index === parts.length - 1) return emit(part, steps, refuse);
    const fork = { kind: "fork" as const, next: steps.length + 1, other: 0 };
    steps.push(fork);
    emit(part, steps, refuse);
    const jump = { kind: "fork" as const, next: 0, other: 0 };
    steps.push(jump);
    jumps.push(jump);
    fork.other = steps.length;
  });
  for (const jump of jumps) jump.next = jump.other = steps.length;
}

function emitRepeat(
  part: PatternNode,
  least: number,
  most: number,
  steps: Step[],
  refuse: PatternRefusal,
): void {
  for (let count = 0; count < least; count++) {
    const before = steps.length;
    emit(part, steps, refuse);
    // A repeat of an empty part is empty.
    if (steps.length === before) break;
  }
  if (most === Number.POSITIVE_INFINITY) {
    const at = steps.length;
    const fork = { kind: "fork" as const, next: at + 1, other: 0 };
    steps.push(fork);
    emit(part, steps, refuse);
    steps.push({ kind: "fork", next: at, other: at });
    fork.other = steps.length;
    return;
  }
  const forks: { other: number }[] = [];
  for (let count = least; count < most; count++) {
    const fork = { kind: "fork" as const, next: steps.length + 1, other: 0 };
    steps.push(fork);
    forks.push(fork);
    emit(part, steps, refuse);
  }
  for (const fork of forks) fork.other = steps.length;
}

/** Whether a match starts at the first character. The pattern ends with `$`. */
function run(steps: readonly Step[], text: readonly string[]): boolean {
  let now = reach(steps, [0], text, 0);
  for (let at = 0; at <= text.length && now.length > 0; at++) {
    if (now.some((index) => steps[index]?.kind === "end")) return true;
    const character = text[at];
    if (character === undefined) return false;
    const next = now.filter((index) => {
      const step = steps[index] as Step;
      return step.kind === "one" && step.test(character);
    });
    now = reach(
      steps,
      next.map((index) => index + 1),
      text,
      at + 1,
    );
  }
  return false;
}

/** Finds the states that consume a character or end, and that are reachable without consuming one. */
function reach(
  steps: readonly Step[],
  from: readonly number[],
  text: readonly string[],
  at: number,
): number[] {
  const seen = new Set<number>();
  const open = [...from];
  for (let index = open.pop(); index !== undefined; index = open.pop()) {
    if (seen.has(index)) continue;
    seen.add(index);
    const step = steps[index] as Step;
    if (step.kind === "fork") open.push(step.next, step.other);
    if (step.kind === "at" && step.test(text, at)) open.push(index + 1);
  }
  return [...seen].filter((index) => {
    const { kind } = steps[index] as Step;
    return kind === "one" || kind === "end";
  });
}
