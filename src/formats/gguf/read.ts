import type { ReadOptions } from "../../io/byte-source.ts";
import type { FileDraft, MethodDraft, ModelDraft, WeightDraft } from "../../model/draft.ts";
import type { ModelFile, ModelFolder } from "../format.ts";
import { shorten } from "../../errors.ts";
import { sameName } from "../failure.ts";
import type { GgufHeader } from "./parse.ts";
import { readGgufHeader } from "./read-header.ts";
import { checkShards, missingShard, ggufModelName, type GgufShard, ggufShardName, shardOf } from "./split.ts";

/** A file with its parsed header, and the shard that it is. */
interface ReadFile extends FileDraft {
  readonly header: GgufHeader;
  /** `undefined` for a whole model. */
  readonly shard: GgufShard | undefined;
}

/**
 * Reads GGUF models: a method for each file, or for all shards of a model together. Shards that are not given are
 * opened in the folder. Every tensor is a weight; the rest of the first file is the program.
 * Reads headers only. Tensors of unknown types are plain bytes, and a note of the draft says so.
 * @throws FormatError with file, tensor and offset; `not-found` names a missing shard
 */
export async function readGguf(
  files: readonly ModelFile[],
  folder: ModelFolder,
  options: ReadOptions = {},
): Promise<ModelDraft> {
  const all: ReadFile[] = [];
  for (const file of files) all.push(await readFile(file, options));
  const models = new Map<string, number[]>();
  // Not over `all`, which grows by the shards of the folder.
  for (const index of files.keys()) {
    const { path, shard } = all[index] as ReadFile;
    const name = ggufModelName(path);
    const known = models.get(name);
    if (!known) models.set(name, shard ? await gather(shard, all, folder, options) : [index]);
    else if (!known.includes(index)) throw sameName(path, name);
  }
  const methods = [...models].map(([name, indices]) => methodOf(name, indices, all));
  const draft = { format: "gguf", methods, files: all.map(({ path, source }) => ({ path, source })) };
  const notes = notesOf(all);
  return notes.length > 0 ? { ...draft, notes } : draft;
}

async function readFile({ path, source }: ModelFile, options: ReadOptions): Promise<ReadFile> {
  const header = await readGgufHeader(source, options);
  return { path, source, header, shard: shardOf(path, { source, header }) };
}

/** Finds all shards of a model, in order, and adds those of the folder to `all`. */
async function gather(
  one: GgufShard,
  all: ReadFile[],
  folder: ModelFolder,
  options: ReadOptions,
): Promise<number[]> {
  const given = new Map(all.map(({ path }, index) => [path, index]));
  const indices: number[] = [];
  for (let no = 0; no < one.count; no++) {
    const shard = { ...one, no };
    const path = ggufShardName(shard);
    let index = given.get(path);
    if (index === undefined) {
      const source = await folder.open(path, options);
      if (!source) throw missingShard(path, shard);
      index = all.push(await readFile({ path, source }, options)) - 1;
    }
    indices.push(index);
  }
  return indices;
}

function methodOf(name: string, indices: readonly number[], all: readonly ReadFile[]): MethodDraft {
  const parts = indices.map((index) => all[index] as ReadFile);
  if (parts[0]?.shard) checkShards(parts);
  const weights = parts.flatMap(({ header }, nth) =>
    header.tensors.map(({ name, dtype, shape, offset, length }): WeightDraft => {
      const at = { file: indices[nth] as number, offset, length };
      return dtype ? { name, dtype, shape, at } : { name, dtype: "uint8", shape: [length], at };
    }),
  );
  return { name, file: indices[0] as number, weights, constants: [] };
}

/** A note for each unknown type. */
function notesOf(all: readonly ReadFile[]): string[] {
  const unknown = new Map<number, string[]>();
  for (const { name, type, dtype } of all.flatMap((file) => file.header.tensors)) {
    if (dtype) continue;
    const names = unknown.get(type);
    if (names) names.push(name);
    else unknown.set(type, [name]);
  }
  return [...unknown].map(([type, [first = "", ...others]]) => {
    const are = others.length > 0 ? `and ${others.length} more are` : "is";
    return `Tensor "${shorten(first)}" ${are} of ggml type ${type}, which tare does not know: kept as plain bytes`;
  });
}
