import type { Command } from "commander";
import { readFile, stat } from "node:fs/promises";
import { parseStrictJson } from "../encodings/json.ts";
import { UsageError } from "../errors.ts";
import { fileError } from "../node/file-source.ts";
import type { Adapter } from "../link/link-gguf.ts";
import { parseNameMap } from "../weights/name-map.ts";

/** Limit of a JSON file of names or rules. A larger file is probably not such a list. */
const MAX_JSON_BYTES = 16 * 1024 * 1024;

/**
 * Chooses between `--out PATH` and the positional path, which mean the same.
 * @throws UsageError if both are given and differ, or if neither is given
 */
export function outputPath(path: string | undefined, out: string | undefined): string {
  if (path !== undefined && out !== undefined && path !== out) {
    throw new UsageError("usage", `Cannot write to both "${path}" and "${out}"`, {
      hint: "Give one output path",
    });
  }
  const chosen = out ?? path;
  if (chosen === undefined)
    throw new UsageError("usage", "Cannot write without a path", { hint: "Add --out PATH" });
  return chosen;
}

/**
 * Refuses options that do nothing for a subject, instead of ignoring them.
 * @param names of the options, in camel case
 * @param doing "Cannot run X"
 * @param reason why an option does nothing there: "is for models of text"
 * @throws UsageError naming the first option that was given
 */
export function refuseOptions(
  command: Command,
  names: readonly string[],
  doing: string,
  reason: string,
): void {
  const given = command.options.find(
    (option) =>
      names.includes(option.attributeName()) &&
      command.getOptionValueSource(option.attributeName()) === "cli",
  );
  if (!given) return;
  throw new UsageError("usage", `${doing} with ${given.long}: it ${reason}`, {
    hint: "Leave the option out",
  });
}

/** Adds a value of a repeatable option to the values before it. */
export function collect(value: string, all: readonly string[]): string[] {
  return [...all, value];
}

/**
 * Parses the number of an option; `undefined` if the option is not given.
 * @throws UsageError that names the option
 */
export function number(flag: string, text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const value = Number(text);
  if (text.trim() !== "" && Number.isFinite(value)) return value;
  throw new UsageError("usage", `Cannot use ${flag} ${text}: it is not a number`);
}

/** Parses `NAME` or `NAME:SCALE`; the scale is 1 unless given. */
export function parseAdapter(text: string): Adapter {
  const [, model = text, scale] = /^(.*):(-?[\d.]+)$/.exec(text) ?? [];
  return { model, scale: number("--adapter", scale) ?? 1 };
}

/**
 * Reads a JSON file that an option names.
 * @throws SourceError, FormatError; UsageError `too-large` over 16 MiB
 */
export async function readJsonFile(path: string): Promise<unknown> {
  try {
    if ((await stat(path)).size > MAX_JSON_BYTES) {
      throw new UsageError("too-large", `Cannot use "${path}": it is over 16 MiB`, { path });
    }
    return parseStrictJson(await readFile(path, "utf8"), path);
  } catch (error) {
    throw error instanceof Error && "syscall" in error ? fileError(path, "read", error) : error;
  }
}

/**
 * Reads a JSON file that maps names of a model to names of its new weights.
 * @throws what {@link readJsonFile} throws; LinkError for an invalid map
 */
export async function readNameMap(path: string): Promise<Record<string, string>> {
  return Object.fromEntries(parseNameMap(await readJsonFile(path), path));
}
