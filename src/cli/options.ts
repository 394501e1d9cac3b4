import { readFile, stat } from "node:fs/promises";
import { parseStrictJson } from "../encodings/json.ts";
import { UsageError } from "../errors.ts";
import { fileError } from "../node/file-source.ts";
import type { Adapter } from "../link/link-gguf.ts";
import { parseNameMap } from "../weights/name-map.ts";

/** A JSON file on the command line lists names or rules; a larger file is something else. */
const MAX_JSON_BYTES = 16 * 1024 * 1024;

/**
 * Chooses between `--out PATH` and the bare second path, which means the same.
 * @throws UsageError if both are given and differ, or neither is given
 */
export function outputPath(path: string | undefined, out: string | undefined): string {
  if (path !== undefined && out !== undefined && path !== out) {
    throw new UsageError("usage", `Cannot write to "${path}" and to "${out}": name one`);
  }
  const chosen = out ?? path;
  if (chosen === undefined)
    throw new UsageError("usage", "Cannot write without a path", { hint: "add --out PATH" });
  return chosen;
}

/** Collects the values of an option that may be repeated. */
export function collect(value: string, all: readonly string[]): string[] {
  return [...all, value];
}

/**
 * Parses a number.
 * @throws UsageError that names the option
 */
export function number(flag: string, text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const value = Number(text);
  if (text.trim() !== "" && Number.isFinite(value)) return value;
  throw new UsageError("usage", `Cannot use ${flag} ${text}: it is not a number`);
}

/** Parses `NAME` or `NAME:SCALE`. */
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
 * @throws what {@link readJsonFile} throws; LinkError for a map that cannot be used
 */
export async function readNameMap(path: string): Promise<Record<string, string>> {
  return Object.fromEntries(parseNameMap(await readJsonFile(path), path));
}
