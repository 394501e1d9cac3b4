/** One file of a model that is split over several, as its name says. */
export interface ShardName {
  /** What the names of all its shards start with, folders included. */
  readonly prefix: string;
  /** Before the number. */
  readonly separator: string;
  /** Counted from 1, by some writers from 0. */
  readonly no: number;
  /** How many there are; the number of the last, unless they are counted from 0. */
  readonly count: number;
}

const SHARD_NAME = /^(.*)([-_])(\d{5})-of-(\d{5})\.safetensors$/s;

/** Tells a shard from a file that is a model of its own; only its name says so. */
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

/** What a model is called: the name of its file or files, without what all safetensors files or shards have. */
export function modelName(path: string): string {
  return path.replace(/([-_]\d{5}-of-\d{5})?\.safetensors$/i, "") || path;
}
