/** The name of one file of a model that is split into several. */
export interface ShardName {
  /** Start of the names of all its shards, folders included. */
  readonly prefix: string;
  /** The character before the number. */
  readonly separator: string;
  /** Counted from 1; by some writers from 0. */
  readonly no: number;
  /** Number of shards, which is the last shard's number if they are counted from 1. */
  readonly count: number;
}

const SHARD_NAME = /^(.*)([-_])(\d{5})-of-(\d{5})\.safetensors$/s;

/** Parses a shard's name; `undefined` for the name of a whole model. */
export function parseShardName(path: string): ShardName | undefined {
  const [, prefix, separator = "", no, count] = SHARD_NAME.exec(path) ?? [];
  return prefix === undefined ? undefined : { prefix, separator, no: Number(no), count: Number(count) };
}

/** The name of a shard. */
export function shardName({ prefix, separator, no, count }: ShardName): string {
  return `${prefix}${separator}${String(no).padStart(5, "0")}-of-${String(count).padStart(5, "0")}.safetensors`;
}

/** The name of the index of a sharded model. */
export function indexName({ prefix }: ShardName): string {
  return `${prefix}.safetensors.index.json`;
}

/** The name of a model: that of its file, without the extension and the shard's number. */
export function modelName(path: string): string {
  return path.replace(/([-_]\d{5}-of-\d{5})?\.safetensors$/i, "") || path;
}
