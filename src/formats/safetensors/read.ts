import type { ReadOptions } from "../../io/byte-source.ts";
import type { FileDraft, MethodDraft, ModelDraft, WeightDraft } from "../../model/draft.ts";
import type { ModelFile, ModelFolder } from "../format.ts";
import { sameName } from "../failure.ts";
import { modelName, parseShardName } from "./shard-name.ts";
import { gatherIndexed, gatherShards, type ReadFile, readFile } from "./shards.ts";

/**
 * Reads safetensors models: a method for each file, or for all shards of a model together. Shards that are not given,
 * and their index, are opened in the folder; an index that disagrees with complete shards is not used, and a note says
 * so. Every tensor is a weight; the rest of the first file is the program.
 * Reads headers and indexes only. An index with a wrong total is accepted, and a note of the draft says so.
 * @throws FormatError with file, tensor and offset; `not-found` for a missing shard
 */
export async function readSafetensors(
  files: readonly ModelFile[],
  folder: ModelFolder,
  options: ReadOptions = {},
): Promise<ModelDraft> {
  const all: ReadFile[] = [];
  for (const file of files) all.push(await readFile(file, options));
  const models = new Map<string, readonly number[]>();
  const taken = new Set<number>();
  const indexes: FileDraft[] = [];
  const notes: string[] = [];
  // Not over `all`, which grows by the shards of the folder.
  for (const nth of files.keys()) {
    if (taken.has(nth)) continue;
    const { path } = all[nth] as ReadFile;
    const shard = parseShardName(path);
    const gathered = shard
      ? { name: modelName(path), ...(await gatherShards(shard, all, folder, options)) }
      : await gatherIndexed(path, all, folder, options);
    const name = gathered?.name ?? modelName(path);
    if (models.has(name)) throw sameName(path, name);
    const shards = gathered?.shards ?? [nth];
    models.set(name, shards);
    for (const shard of shards) taken.add(shard);
    if (gathered?.index) indexes.push(gathered.index);
    notes.push(...(gathered?.notes ?? []));
  }
  const methods = [...models].map(([name, shards]) => methodOf(name, shards, all));
  const read = all.map(({ path, source }) => ({ path, source }));
  const draft = { format: "safetensors", methods, files: [...read, ...indexes] };
  return notes.length > 0 ? { ...draft, notes } : draft;
}

function methodOf(name: string, shards: readonly number[], all: readonly ReadFile[]): MethodDraft {
  const weights = shards.flatMap((file) =>
    (all[file] as ReadFile).header.tensors.map(
      ({ name, dtype, shape, offset, length }): WeightDraft => ({
        name,
        dtype,
        shape,
        at: { file, offset, length },
      }),
    ),
  );
  return { name, file: shards[0] as number, weights, constants: [] };
}
