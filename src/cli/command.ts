import type { Command } from "commander";
import type { Context } from "./context.ts";

/** Wraps the work of a verb as an action of commander. The work may return an exit code; 0 if it returns nothing. */
export type Act = <A extends unknown[]>(
  work: (context: Context, ...args: A) => Promise<number | void>,
) => (...args: A) => Promise<void>;

/** Adds one verb to the program. Each file of `commands/` exports one. */
export type DefineCommand = (program: Command, act: Act) => void;

/** Formats examples for the end of a verb's help. */
export function examples(...lines: readonly string[]): string {
  return `\nExamples:\n${lines.map((line) => `  $ ${line}`).join("\n")}\n`;
}
