import type { GgufEntry, GgufMetadata } from "../formats/gguf/values.ts";
import { encodeGgufHeader, type EncodedGgufHeader, type GgufTensorSpec } from "../formats/gguf/write.ts";
import type { Weight } from "../model/config.ts";
import type { StoredModel } from "../model/stored-model.ts";
import { usersOf, weightBytes } from "../model/sharing.ts";

/** Alignment of tensors in bytes: llama.cpp maps shards by pages, and reads tensors in place. */
const ALIGNMENT = 4096;

/** The weights that one set of models shares: a file in the views of all these models. */
export interface Shard {
  /** Its number in every view, from 2 on: shard 1 has the metadata of the model. Shards of a view have different numbers. */
  readonly position: number;
  /** Names of the GGUF models that use the weights. */
  readonly users: readonly string[];
  /** Names of the models of other formats that also use these weights, under any names. */
  readonly followers: readonly string[];
  readonly weights: readonly Weight[];
  /** Size in bytes. */
  readonly bytes: number;
}

/**
 * Sorts the weights of GGUF models into shards, one for each set of models that share weights, the foundation first.
 * A shard contains its position, so it has the same position in every view; unused positions of a view are empty shards.
 * Two shards may have the same position if no view has both. This keeps the number of files of a view small, since
 * engines open all of them.
 * @param others models of other formats: weights that they share are in shards of which they use every weight
 */
export function planShards(models: readonly StoredModel[], others: readonly StoredModel[] = []): Shard[] {
  const following = usersOf(others);
  const users = new Map<string, { readonly weight: Weight; readonly names: string[] }>();
  for (const model of models) {
    for (const weight of model.config.methods.flatMap((method) => method.weights)) {
      const what = JSON.stringify([weight.name, weight.dtype, weight.shape, weight.digest]);
      const entry = users.get(what) ?? { weight, names: [] };
      if (!entry.names.includes(model.name)) entry.names.push(model.name);
      users.set(what, entry);
    }
  }
  const classes = new Map<string, { users: string[]; followers: readonly string[]; weights: Weight[] }>();
  for (const { weight, names } of users.values()) {
    const followers = following.get(weight.digest) ?? [];
    const shard = classes.get(key({ users: names, followers })) ?? { users: names, followers, weights: [] };
    shard.weights.push(weight);
    classes.set(key(shard), shard);
  }
  const sorted = [...classes.values()]
    .map((shard) => ({
      ...shard,
      bytes: shard.weights.reduce((sum, weight) => sum + weightBytes(weight), 0),
    }))
    .sort((a, b) => b.users.length - a.users.length || b.bytes - a.bytes || (key(a) < key(b) ? -1 : 1));
  const taken = new Map<string, Set<number>>(models.map(({ name }) => [name, new Set()]));
  return sorted.map((shard) => {
    const others = shard.users.map((user) => taken.get(user) as Set<number>);
    let position = 2;
    while (others.some((positions) => positions.has(position))) position++;
    for (const positions of others) positions.add(position);
    return { ...shard, position };
  });
}

function key({ users, followers }: Pick<Shard, "users" | "followers">): string {
  return JSON.stringify([users, followers]);
}

/**
 * Encodes the header of a shard: its position and its tensors, in the order of the weights.
 * @param typeOf returns the ggml type number of a weight
 */
export function shardHeader(
  shard: Pick<Shard, "position" | "weights">,
  typeOf: (weight: Weight) => number,
): EncodedGgufHeader {
  return encodeGgufHeader({
    metadata: [splitNo(shard.position), { key: "general.alignment", type: "uint32", value: ALIGNMENT }],
    tensors: shard.weights.map((weight) => ({
      name: weight.name,
      type: typeOf(weight),
      shape: weight.shape,
    })),
    alignment: ALIGNMENT,
  });
}

/** Encodes a shard without tensors, for a position that a model does not use. */
export function emptyShard(position: number): Uint8Array {
  return encodeGgufHeader({ metadata: [splitNo(position)], tensors: [] }).bytes;
}

/**
 * Encodes shard 1 of a view, with the metadata of the model and the number of shards.
 * @param tensors number of the model's tensors
 * @param own tensors of this shard
 */
export function firstShard(
  metadata: GgufMetadata,
  shards: number,
  tensors: number,
  own: readonly GgufTensorSpec[] = [],
): EncodedGgufHeader {
  const entries = metadata.filter(({ key }) => !key.startsWith("split."));
  const split: GgufEntry[] = [
    splitNo(1),
    { key: "split.count", type: "uint16", value: shards },
    { key: "split.tensors.count", type: "int32", value: tensors },
  ];
  return encodeGgufHeader({ metadata: [...entries, ...split], tensors: own });
}

function splitNo(position: number): GgufEntry {
  return { key: "split.no", type: "uint16", value: position - 1 };
}
