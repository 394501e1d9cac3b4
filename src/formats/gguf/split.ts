import { type ErrorCode, FormatError, operationError, shorten } from "../../errors.ts";
import { type GgufFile, ggufErrors } from "./file.ts";
import type { GgufHeader } from "./parse.ts";
import { type GgufType, Key } from "./schema.ts";
import { findEntry } from "./values.ts";

/** One file of a model that is split over several. */
export interface GgufShard {
  /** What the names of all its shards start with. */
  readonly prefix: string;
  /** Counted from 0. */
  readonly no: number;
  /** How many shards there are. */
  readonly count: number;
}

/** A file whose header was read. */
export interface ReadHeader {
  readonly source: GgufFile;
  readonly header: GgufHeader;
}

const SHARD_NAME = /^(.*)-(\d{5})-of-(\d{5})\.gguf$/s;
const HINT =
  "llama.cpp finds shards by their names, NAME-00001-of-0000N.gguf, and checks them against split.no and split.count";

/** The name of a shard as llama.cpp looks for it. */
export function ggufShardName({ prefix, no, count }: GgufShard): string {
  return `${prefix}-${String(no + 1).padStart(5, "0")}-of-${String(count).padStart(5, "0")}.gguf`;
}

/** What a model is called: the name of its file or files, without what all GGUF files or shards have. */
export function ggufModelName(path: string): string {
  return path.replace(/(-\d{5}-of-\d{5})?\.gguf$/i, "") || path;
}

/**
 * Tells a shard from a file that is a model of its own. A later shard may lack `split.count`, as in llama.cpp; what
 * it says must be right.
 * @param path relative to the model's folder
 * @throws FormatError `malformed` (also where llama.cpp would end the whole process), `bad-name`, `mismatch`
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
 * @param shards all of a split, in order, each of which {@link shardOf} has passed
 * @throws FormatError `duplicate` for a tensor in two shards, on which llama.cpp would end the whole process;
 * `mismatch` for another number of tensors than shard 1 says
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

/** The error for a shard that is not there. */
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

/** A number of the metadata, which must be of that type. */
function numberOf({ source, header }: ReadHeader, key: string, type: GgufType): number | undefined {
  const entry = findEntry(header.metadata, key);
  if (!entry) return undefined;
  if (entry.type === type) return entry.value as number;
  const reason = `its "${key}" is of type ${entry.type}, not ${type}`;
  throw ggufErrors(source)("malformed", reason, {
    hint: "On such files llama.cpp fails or ends the process",
  });
}
