import { type ErrorCode, FormatError, operationError, shorten } from "../../errors.ts";
import { type GgufFile, ggufErrors } from "./file.ts";
import type { GgufHeader } from "./parse.ts";
import { type GgufType, Key } from "./schema.ts";
import { findEntry } from "./values.ts";

/** One file of a model that is split into several. */
export interface GgufShard {
  /** Start of the names of all its shards. */
  readonly prefix: string;
  /** Counted from 0. */
  readonly no: number;
  /** Number of shards. */
  readonly count: number;
}

/** A file with its parsed header. */
export interface ReadHeader {
  readonly source: GgufFile;
  readonly header: GgufHeader;
}

const SHARD_NAME = /^(.*)-(\d{5})-of-(\d{5})\.gguf$/s;
const HINT =
  "llama.cpp finds shards by their names, NAME-00001-of-0000N.gguf, and checks them against split.no and split.count";

/** The name by which llama.cpp looks for a shard. */
export function ggufShardName({ prefix, no, count }: GgufShard): string {
  return `${prefix}-${String(no + 1).padStart(5, "0")}-of-${String(count).padStart(5, "0")}.gguf`;
}

/** The name of a model: that of its file, without the extension and the shard's number. */
export function ggufModelName(path: string): string {
  return path.replace(/(-\d{5}-of-\d{5})?\.gguf$/i, "") || path;
}

/**
 * Parses which shard a file is; `undefined` for a whole model. A later shard may lack `split.count`, as in llama.cpp;
 * if present, it must match.
 * @param path relative to the model's folder
 * @throws FormatError `malformed` (also where llama.cpp would abort the process), `bad-name`, `mismatch`
 */
export function shardOf(path: string, file: ReadHeader): GgufShard | undefined {
  const no = numberOf(file, Key.splitNo, "uint16");
  const count = numberOf(file, Key.splitCount, "uint16");
  const tensors = numberOf(file, Key.splitTensors, "int32");
  const named = parseShardName(path);
  if ((count ?? 0) <= 1 && (no ?? 0) === 0 && (named?.count ?? 0) <= 1) return undefined;
  const refuse = (code: ErrorCode, reason: string): FormatError =>
    ggufErrors(file.source)(code, reason, { hint: HINT });
  if (!named) throw refuse("bad-name", "it is one of several shards, and its name does not say which");
  const saying = `its name says shard ${named.no + 1} of ${named.count}`;
  if (no === undefined) throw refuse("malformed", `${saying}, and it has no "${Key.splitNo}"`);
  if (no !== named.no) throw refuse("mismatch", `${saying}, its "${Key.splitNo}" shard ${no + 1}`);
  if (count === undefined && no === 0) throw refuse("malformed", `it has no "${Key.splitCount}"`);
  if (count !== undefined && count !== named.count) {
    throw refuse("mismatch", `${saying}, its "${Key.splitCount}" is ${count}`);
  }
  if (tensors === undefined && no === 0) throw refuse("malformed", `it has no "${Key.splitTensors}"`);
  return named;
}

/**
 * Checks that shards belong together.
 * @param shards all shards of a model, in order, each checked by {@link shardOf}
 * @throws FormatError `duplicate` for a tensor in two shards, where llama.cpp would abort the process; `mismatch` if
 * the number of tensors differs from that in shard 1
 */
export function checkShards(shards: readonly ReadHeader[]): void {
  const [first] = shards;
  if (!first) return;
  const expected = numberOf(first, Key.splitTensors, "int32");
  const homes = new Map<string, GgufFile>();
  for (const shard of shards) {
    const { source, header } = shard;
    const said = numberOf(shard, Key.splitTensors, "int32") ?? expected;
    if (said !== expected) {
      const reason = `its "${Key.splitTensors}" is ${said}, that of "${first.source.name}" ${expected}`;
      throw ggufErrors(source)("mismatch", reason, { hint: "Is it a shard of another model?" });
    }
    for (const { name, offset } of header.tensors) {
      const home = homes.get(name);
      if (home) throw ggufErrors(source)("duplicate", `"${home.name}" has it too`, { tensor: name, offset });
      homes.set(name, source);
    }
  }
  if (homes.size !== expected) {
    const reason = `its "${Key.splitTensors}" is ${expected}, the ${shards.length} shards have ${homes.size}`;
    throw ggufErrors(first.source)("mismatch", reason, { hint: "Is one of them a shard of another model?" });
  }
}

/** Makes the error for a missing shard. */
export function missingShard(path: string, { prefix, no, count }: GgufShard): FormatError {
  return operationError(FormatError, {
    code: "not-found",
    doing: `find "${path}", shard ${no + 1} of ${count} of "${shorten(prefix)}"`,
    path,
    hint: "Put all shards into one folder",
  });
}

function parseShardName(path: string): GgufShard | undefined {
  const [, prefix, no, count] = SHARD_NAME.exec(path) ?? [];
  if (prefix === undefined) return undefined;
  return { prefix, no: Number(no) - 1, count: Number(count) };
}

/** Reads a number of the metadata, which must have the type. */
function numberOf({ source, header }: ReadHeader, key: string, type: GgufType): number | undefined {
  const entry = findEntry(header.metadata, key);
  if (!entry) return undefined;
  if (entry.type === type) return entry.value as number;
  const reason = `its "${key}" is of type ${entry.type}, not ${type}`;
  throw ggufErrors(source)("malformed", reason, {
    hint: "On such files llama.cpp fails or ends the process",
  });
}
