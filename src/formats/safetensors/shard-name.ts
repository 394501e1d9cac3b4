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
  /** Digits of the number and of the count, leading zeros included: writers pad them to five, to six, or not. */
  readonly digits: readonly [no: number, count: number];
}

const SHARD_NAME = /^(.*)([-_])(\d{1,15})-of-(\d{1,15})\.safetensors$/s;

/** Parses a shard's name; `undefined` for the name of a whole model. */
export function parseShardName(path: string): ShardName | undefined {
  const [, prefix, separator = "", no = "", count = ""] = SHARD_NAME.exec(path) ?? [];
  if (prefix === undefined) return undefined;
  return { prefix, separator, no: Number(no), count: Number(count), digits: [no.length, count.length] };
}

/** The name of a shard. */
export function shardName({ prefix, separator, no, count, digits }: ShardName): string {
  const number = (value: number, width: number): string => String(value).padStart(width, "0");
  return `${prefix}${separator}${number(no, digits[0])}-of-${number(count, digits[1])}.safetensors`;
}

/** The name of the index of a sharded model. */
export function indexName({ prefix }: Pick<ShardName, "prefix">): string {
  return `${prefix}.safetensors.index.json`;
}

/** The name of a model: that of its file, without the extension and the shard's number. */
export function modelName(path: string): string {
  return path.replace(/([-_]\d{1,15}-of-\d{1,15})?\.safetensors$/i, "") || path;
}
