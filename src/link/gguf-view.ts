import { setTimeout } from "node:timers/promises";
import { LinkError, SourceError, StoreError } from "../errors.ts";
import { type GgufHeader, parseGgufHeader } from "../formats/gguf/parse.ts";
import { ggufShardName } from "../formats/gguf/split.ts";
import { findEntry } from "../formats/gguf/values.ts";
import { emptyShard, firstShard, planShards, type Shard, shardHeader } from "./shards.ts";
import type { Digest } from "../tensor/digest.ts";
import { locationOf } from "../model/location-of.ts";
import { type Descriptor, MediaType, SHARD_LAYOUT } from "../model/manifest.ts";
import type { StoredModel } from "../model/stored-model.ts";
import { cacheShardLayout } from "../local-store/shard-layout-cache.ts";
import { type Repacked, repack, type ShardDraft, shardLayout } from "../local-store/repack.ts";
import type { LinkedFile, WrittenFile } from "./view.ts";
import type { LocalStore } from "../local-store/local-store.ts";
import { listModels, readModel } from "../store/read-model.ts";
import { readBlob } from "../store/read-blob.ts";

/** Number of attempts. Another process may repack the same models at the same time, and one process succeeds each time. */
const ATTEMPTS = 12;

/** The files of a view of a GGUF model. */
export interface GgufView {
  /** Path of the first shard, which llama.cpp opens. */
  readonly first: string;
  readonly links: readonly LinkedFile[];
  readonly written: readonly WrittenFile[];
}

/**
 * Repacks the GGUF models of the store into shards if necessary, one for each set of models that share weights, and
 * passes a view of one model to `use`. The store then has these weights only in shards, also for models of other formats
 * that share them.
 * @param use uses the view; called again if another process moved blobs meanwhile
 * @throws LinkError `mismatch` for an adapter or vocabulary; StoreError
 */
export async function withGgufView<T>(
  store: LocalStore,
  name: string,
  use: (view: GgufView) => Promise<T>,
  signal?: AbortSignal,
): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    signal?.throwIfAborted();
    try {
      const view = await layOut(store, name, signal);
      if (view) return await use(view);
    } catch (error) {
      if (attempt === ATTEMPTS || !blobsMoved(error)) throw error;
    }
    if (attempt === ATTEMPTS) {
      throw new LinkError("missing-weight", `Cannot link "${name}": the store's models keep changing`, {
        hint: "Try again",
      });
    }
    await setTimeout(Math.random() * 50 * attempt);
  }
}

/**
 * Repacks the models if necessary, and lays out the view.
 * @returns `undefined` if a model changed meanwhile
 */
async function layOut(
  store: LocalStore,
  name: string,
  signal: AbortSignal | undefined,
): Promise<GgufView | undefined> {
  const all = await listModels(store);
  const headers = new Headers(store);
  const models = await shardedModels(all, headers);
  const model = models.find((each) => each.name === name);
  if (!model) {
    await readModel(store, name);
    throw new LinkError("mismatch", `Cannot link "${name}": it is an adapter or a vocabulary`, {
      hint: `Write its files with: tare export ${name}`,
    });
  }
  const others = all.filter((each) => !models.includes(each));
  const shards = planShards(models, others);
  const files = await Promise.all(shards.map((shard) => shardFile(store, shard, models, headers)));
  const moved = [...models, ...others].flatMap((each): Repacked[] => {
    const used = shards.flatMap((shard, index) => (usersOf(shard).includes(each.name) ? [index] : []));
    const stays = used.every((index) => liesIn(each, files[index] as ShardDraft));
    return stays ? [] : [{ model: each, shards: used }];
  });
  if (moved.length === 0) {
    await cacheShardLayout(store, all);
    return viewOf(store, model, shards, files, await headers.of(model));
  }
  const done = await repack(store, files, moved, signal);
  return done ? layOut(store, name, signal) : undefined;
}

/** Whether an error occurred because another process repacked blobs meanwhile. */
export function blobsMoved(error: unknown): boolean {
  return error instanceof SourceError || error instanceof StoreError
    ? error.code === "missing-blob" || (error.code === "not-found" && error.path?.includes("blobs") === true)
    : false;
}

/** Selects the GGUF models that are neither adapters nor vocabularies. */
async function shardedModels(all: readonly StoredModel[], headers: Headers): Promise<StoredModel[]> {
  const sharded: StoredModel[] = [];
  for (const model of all) {
    const { format, methods } = model.config;
    if (format !== "gguf" || methods.length !== 1 || methods[0]?.weights.length === 0) continue;
    const kind = findEntry((await headers.of(model)).metadata, "general.type")?.value;
    if (kind !== "adapter") sharded.push(model);
  }
  return sharded;
}

async function viewOf(
  store: LocalStore,
  model: StoredModel,
  shards: readonly Shard[],
  files: readonly ShardDraft[],
  header: GgufHeader,
): Promise<GgufView> {
  const used = shards.filter((shard) => shard.users.includes(model.name));
  const count = Math.max(...used.map((shard) => shard.position));
  const prefix = model.name.replaceAll("/", "_");
  const name = (position: number): string => ggufShardName({ prefix, no: position - 1, count });
  const links: LinkedFile[] = [];
  const tensors = model.config.methods[0]?.weights.length ?? 0;
  const written: WrittenFile[] = [
    { path: name(1), bytes: firstShard(header.metadata, count, tensors).bytes },
  ];
  for (let position = 2; position <= count; position++) {
    const shard = used.find((each) => each.position === position);
    const blob = shard && files[shards.indexOf(shard)]?.stored;
    if (blob) links.push({ path: name(position), blob: store.blobPath(blob) });
    else written.push({ path: name(position), bytes: emptyShard(position) });
  }
  return { first: name(1), links, written };
}

async function shardFile(
  store: LocalStore,
  shard: Shard,
  models: readonly StoredModel[],
  headers: Headers,
): Promise<ShardDraft> {
  const model = models.find((each) => each.name === shard.users[0]) as StoredModel;
  const header = await headers.of(model);
  const types = new Map(header.tensors.map((tensor) => [tensor.name, tensor.type]));
  const encoded = shardHeader(shard, (weight) => types.get(weight.name) ?? 0);
  const weights = shard.weights.map(({ digest, name }) => {
    return { digest, from: locationOf(model, digest, { doing: `link "${model.name}"`, weight: name }) };
  });
  const file = { header: encoded.bytes, offsets: encoded.offsets, size: encoded.size, weights };
  const users = models.filter((each) => shard.users.includes(each.name));
  return { ...file, stored: await findStored(store, file, users) };
}

/** Finds the blob that already is the shard for all its users; `undefined` if the shard has to be written. */
async function findStored(
  store: LocalStore,
  file: ShardDraft,
  users: readonly StoredModel[],
): Promise<Digest | undefined> {
  const layout = shardLayout(file);
  const layers = users.map((model) =>
    shardsOf(model).find((each) => each.annotations?.[SHARD_LAYOUT] === layout),
  );
  const blob = layers[0]?.digest;
  if (blob === undefined || layers.some((layer) => layer?.digest !== blob)) return undefined;
  if (!users.every((model) => liesIn(model, { ...file, stored: blob }))) return undefined;
  await using source = await store.blobs.open(blob);
  if (source.size !== file.size) return undefined;
  const header = await source.read(0, file.header.byteLength);
  return Buffer.compare(header, file.header) === 0 ? blob : undefined;
}

/** Whether a shard is stored, and all its weights of a model are in shards only. */
function liesIn(model: StoredModel, { stored, weights }: ShardDraft): boolean {
  const blobs = new Set(shardsOf(model).map((layer) => layer.digest));
  if (stored === undefined || !blobs.has(stored)) return false;
  return weights.every(({ digest }) =>
    blobs.has(locationOf(model, digest, { doing: `link "${model.name}"` }).blob),
  );
}

function shardsOf(model: StoredModel): Descriptor[] {
  return model.manifest.layers.filter((layer) => layer.mediaType === MediaType.shard);
}

function usersOf({ users, followers }: Shard): string[] {
  return [...users, ...followers];
}

/** Parses the headers of models, each once. */
class Headers {
  readonly #store: LocalStore;
  readonly #parsed = new Map<StoredModel, Promise<GgufHeader>>();

  constructor(store: LocalStore) {
    this.#store = store;
  }

  of(model: StoredModel): Promise<GgufHeader> {
    const header = this.#parsed.get(model) ?? headerOf(this.#store, model);
    this.#parsed.set(model, header);
    return header;
  }
}

/** Reads the header of a model's file. For a sharded model, it has the metadata of the first shard and all tensors. */
export async function headerOf(store: LocalStore, model: StoredModel): Promise<GgufHeader> {
  const file = model.config.files[model.config.methods[0]?.file ?? 0];
  const header =
    file && parseGgufHeader(await readBlob(store, file.skeleton), { name: file.path, size: file.size });
  if (!file || !header)
    throw new LinkError("mismatch", `Cannot link "${model.name}": its program is not a GGUF header`);
  // The tensors of a sharded model are in the headers of all its shards.
  if (findEntry(header.metadata, "split.count")) {
    const tensors = [];
    for (const each of model.config.files) {
      const part = each.path.endsWith(".gguf")
        ? parseGgufHeader(await readBlob(store, each.skeleton), { name: each.path, size: each.size })
        : undefined;
      tensors.push(...(part?.tensors ?? []));
    }
    return { ...header, tensors };
  }
  return header;
}
