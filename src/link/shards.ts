import type { GgufEntry, GgufMetadata } from "../formats/gguf/values.ts";
import { encodeGgufHeader, type EncodedGgufHeader, type GgufTensorSpec } from "../formats/gguf/write.ts";
import type { Weight } from "../model/config.ts";
import type { StoredModel } from "../model/stored-model.ts";
import { usersOf, weightBytes } from "../model/sharing.ts";

/** llama.cpp maps shards by pages, and reads tensors in place. */
const ALIGNMENT = 4096;

/** Weights that exactly the same models use: one file of all their views. */
export interface Shard {
  /** Its place in every view that has it, from 2 on: shard 1 is a model's own metadata. No view has two at one. */
  readonly position: number;
  readonly users: readonly string[];
  /** Models of other formats that use exactly these weights too, whatever they call them. */
  readonly followers: readonly string[];
  readonly weights: readonly Weight[];
  /** In bytes. */
  readonly bytes: number;
}

/**
 * Sorts the weights of GGUF models into shards, one for each set of models that share some: the foundation first.
 * A shard's position is written into it, so it is the same in every view; a view leaves positions that it does not
 * use to empty shards. Shards that no view has both of may have the same one: what is each model's own comes after the
 * foundation, however many models there are, since engines look into every file of a view.
 * @param others models of other formats: where they have the same bytes, these are in shards of which they use every weight
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
 * The header of a shard file: nothing but its place and its tensors, which follow in order.
 * @param typeOf ggml's number of a weight's type
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

/** A shard without tensors, for a position that a model does not use. */
export function emptyShard(position: number): Uint8Array {
  return encodeGgufHeader({ metadata: [splitNo(position)], tensors: [] }).bytes;
}

/**
 * Shard 1 of a view: the model's own metadata, and what says that it is split.
 * @param tensors number of the model's tensors
 * @param own the tensors that this shard has itself
 */
export function firstShard(
  metadata: GgufMetadata,
  shards: number,
  tensors: number,
  own: readonly GgufTensorSpec[] = [],
): EncodedGgufHeader {
  const rest = metadata.filter(({ key }) => !key.startsWith("split."));
  const split: GgufEntry[] = [
    splitNo(1),
    { key: "split.count", type: "uint16", value: shards },
    { key: "split.tensors.count", type: "int32", value: tensors },
  ];
  return encodeGgufHeader({ metadata: [...rest, ...split], tensors: own });
}

function splitNo(position: number): GgufEntry {
  return { key: "split.no", type: "uint16", value: position - 1 };
}
