import { loraError } from "./lora-matrices.ts";
import { compileNamePattern, type NamePattern } from "./name-pattern.ts";

/** Limit of states × characters of names, over all patterns of an adapter. Takes a few seconds at most. */
const MAX_WORK = 200_000_000;

/** Values for modules by patterns of their names, in the order of the config. */
export interface ModulePatterns {
  readonly adapter: string;
  readonly key: string;
  readonly entries: readonly {
    readonly pattern: string;
    readonly value: number;
    readonly compiled: NamePattern;
  }[];
}

/**
 * Checks a `rank_pattern` or `alpha_pattern`.
 * @throws LinkError `malformed`; `unsupported` for an expression that is not supported
 */
export function modulePatterns(
  adapter: string,
  key: string,
  json: unknown,
  isValue: (value: unknown) => value is number,
): ModulePatterns {
  const object = json ?? {};
  if (typeof object !== "object" || Array.isArray(object)) {
    throw loraError("malformed", adapter, `its ${key} is not an object`);
  }
  const entries = Object.entries(object).map(([pattern, value]: [string, unknown]) => {
    const named = `its ${key} has "${pattern.slice(0, 80)}"`;
    if (!isValue(value)) throw loraError("malformed", adapter, `${named}: ${JSON.stringify(value)}`);
    const compiled = compileNamePattern(pattern, (reason) =>
      loraError("unsupported", adapter, `${named}, a regular expression ${reason}`, undefined, HINT),
    );
    return { pattern, value, compiled };
  });
  return { adapter, key, entries };
}

const HINT = "Replace it with the names of the modules: each name is a pattern that matches itself";

/**
 * Checks that matching the patterns with some names takes a reasonable time.
 * @throws LinkError `too-large`
 */
export function checkPatternWork({ adapter, key, entries }: ModulePatterns, names: readonly string[]): void {
  const states = entries.reduce((sum, { compiled }) => sum + compiled.states, 0);
  const characters = names.reduce((sum, name) => sum + name.length + 1, 0);
  if (states * characters <= MAX_WORK) return;
  throw loraError(
    "too-large",
    adapter,
    `its ${key} has expressions of ${states} states for ${names.length} modules`,
  );
}

/**
 * Finds the value of a module, as PEFT does: that of the first pattern that matches, else the default.
 * @throws LinkError `unsupported` if the order of the matching patterns is unknown
 */
export function forModule({ adapter, key, entries }: ModulePatterns, module: string, all: number): number {
  const matching = entries.filter(({ compiled }) => compiled.matches(module));
  const [first] = matching;
  if (!first) return all;
  // JavaScript objects list integer keys first, which loses their order in the file.
  const moved = matching.some(({ pattern }) => /^\d+$/.test(pattern));
  if (moved && matching.some(({ value }) => value !== first.value)) {
    const reason = `several patterns of its ${key} match "${module}", and "${first.pattern}" is a number`;
    throw loraError("unsupported", adapter, reason);
  }
  return first.value;
}
