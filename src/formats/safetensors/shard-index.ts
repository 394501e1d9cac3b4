import type { ByteSource, ReadOptions } from "../../io/byte-source.ts";
import { parseStrictJson } from "../../encodings/json.ts";
import { isPlainPath } from "../../model/config.ts";
import { fileErrors, type FormatError, shorten } from "../../errors.ts";
import type { SafetensorsHeader } from "./parse-header.ts";
import { MAX_HEADER_LENGTH } from "./schema.ts";

/** The index of a sharded model. */
export interface ShardIndex {
  /** Names the file in errors. */
  readonly name: string;
  /** The file of each tensor: plain paths, relative to the index's folder. */
  readonly files: ReadonlyMap<string, string>;
  /** Bytes of all tensors. Some writers give a wrong total. */
  readonly totalSize: number | undefined;
}

/** A shard with its parsed header. */
interface IndexedShard {
  /** Relative to the index's folder. */
  readonly path: string;
  readonly header: SafetensorsHeader;
}

/**
 * Reads the index of a sharded model.
 * @throws FormatError `malformed`, `duplicate`, `unsafe-path` naming the tensor; `too-large` over 100 MB
 */
export async function readShardIndex(source: ByteSource, options: ReadOptions = {}): Promise<ShardIndex> {
  if (source.size > MAX_HEADER_LENGTH) throw fileErrors(source)("too-large", `it has ${source.size} bytes`);
  return parseShardIndex(await source.read(0, source.size, options), source.name);
}

/**
 * Parses an index: `{"metadata": {"total_size": …}, "weight_map": {tensor: file}}`. Other fields are accepted. Source:
 * https://huggingface.co/docs/safetensors/metadata_parsing
 * @throws FormatError what {@link readShardIndex} throws
 */
function parseShardIndex(bytes: Uint8Array, name: string): ShardIndex {
  const fail = fileErrors({ name });
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    throw fail("malformed", "it is not UTF-8");
  }
  const json = parseStrictJson(text, name);
  const map = fieldOf(json, "weight_map");
  if (typeof map !== "object" || map === null || Array.isArray(map)) {
    throw fail("malformed", "it has no weight_map that says which tensor is in which file");
  }
  const files = new Map<string, string>();
  for (const [tensor, file] of Object.entries(map)) {
    if (typeof file !== "string") throw fail("malformed", "its file is not a string", { tensor });
    if (!isPlainPath(file)) {
      throw fail("unsafe-path", `"${shorten(file)}" is not a plain path in the model's folder`, { tensor });
    }
    files.set(tensor, file);
  }
  const total = fieldOf(fieldOf(json, "metadata"), "total_size");
  return { name, files, totalSize: typeof total === "number" ? total : undefined };
}

/**
 * Finds where an index and its shards disagree on a tensor.
 * @param shards all shards of the model, also those that the index does not name
 * @returns the error `mismatch` that names the tensor and both sides, that of a tensor without a shard first
 */
export function findIndexMismatch(
  index: ShardIndex,
  shards: readonly IndexedShard[],
): IndexMismatch | undefined {
  const fail = fileErrors(index);
  const homes = new Map<string, string>();
  for (const { path, header } of shards) for (const { name } of header.tensors) homes.set(name, path);
  let elsewhere: IndexMismatch | undefined;
  for (const [tensor, file] of index.files) {
    const home = homes.get(tensor);
    if (home === file) continue;
    const found = home === undefined ? "which does not have it" : `but it is in "${home}"`;
    const reason = `the index says it is in "${shorten(file)}", ${found}`;
    const error = fail("mismatch", reason, { tensor, hint: HINT });
    if (home === undefined) return { error, isMissing: true };
    elsewhere ??= { error, isMissing: false };
  }
  if (elsewhere) return elsewhere;
  for (const [tensor, home] of homes) {
    if (index.files.has(tensor)) continue;
    const reason = `"${home}" has it, and the index does not name it`;
    return { error: fail("mismatch", reason, { tensor, hint: HINT }), isMissing: false };
  }
  return undefined;
}

/** A tensor on which an index and the shards disagree. */
export interface IndexMismatch {
  readonly error: FormatError;
  /** Whether no shard has the tensor, so that it is lost. */
  readonly isMissing: boolean;
}

/** What to do about an index that contradicts the shards. */
export const HINT = "Get the model's files again. Without an index, shards are found by their names";

/** A field of a value that should be an object. */
function fieldOf(value: unknown, key: string): unknown {
  if (typeof value !== "object" || value === null || !Object.hasOwn(value, key)) return undefined;
  return (value as Record<string, unknown>)[key];
}
