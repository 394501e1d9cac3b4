import type { Command } from "commander";
import type { Context } from "./context.ts";

/** Runs a verb's work with what the command line said; an exit code other than 0 is returned. */
export type Act = <A extends unknown[]>(
  work: (context: Context, ...args: A) => Promise<number | void>,
) => (...args: A) => Promise<void>;

/** Adds one verb to the program. One file per verb has one of these. */
export type DefineCommand = (program: Command, act: Act) => void;

/** Examples at the end of a verb's help. */
export function examples(...lines: readonly string[]): string {
  return `\nExamples:\n${lines.map((line) => `  $ ${line}`).join("\n")}\n`;
}
