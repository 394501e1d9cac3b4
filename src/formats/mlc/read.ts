import type { ReadOptions } from "../../io/byte-source.ts";
import type { FileDraft, ModelDraft, WeightDraft } from "../../model/draft.ts";
import { fileErrors, shorten } from "../../errors.ts";
import type { ModelFile, ModelFolder } from "../format.ts";
import { methodPerFile } from "../method-per-file.ts";
import { type CacheShard, parseTensorCache } from "./parse.ts";

/** Longest list, in bytes: enough for a million tensors. */
const LARGEST = 100_000_000;

/**
 * Reads tensor caches of MLC and WebLLM: the list is the program, and the shards beside it hold the weights. Tensors
 * that were narrowed to bfloat16 are bfloat16 weights, and a note of the draft counts them. Reads lists only.
 * @throws FormatError naming tensor and shard; `not-found` for a missing shard, `size-mismatch` for a shard of another
 * size
 */
export async function readTensorCache(
  lists: readonly ModelFile[],
  folder: ModelFolder,
  options: ReadOptions = {},
): Promise<ModelDraft> {
  const files: FileDraft[] = lists.map(({ path, source }) => ({ path, source }));
  const notes: string[] = [];
  const weights: WeightDraft[][] = [];
  for (const list of lists) {
    const { source } = list;
    if (source.size > LARGEST) throw fileErrors(source)("too-large", `it has ${source.size} bytes`);
    const shards = parseTensorCache(await source.read(0, source.size, options), source.name);
    const found: WeightDraft[] = [];
    for (const shard of shards) {
      const file = await openShard(list, shard, files, lists.length, folder, options);
      for (const { name, dtype, shape, offset, length } of shard.records) {
        found.push({ name, dtype, shape, at: { file, offset, length } });
      }
    }
    // One by one: so many arguments of one call may overflow the stack.
    for (const note of notesOf(source.name, shards)) notes.push(note);
    weights.push(found);
  }
  const draft = { format: "mlc", methods: methodPerFile(lists, weights), files };
  return notes.length > 0 ? { ...draft, notes } : draft;
}

/**
 * Opens a shard beside its list. Lists of the old and the new name may share their shards.
 * @param files the files so far, lists first; grows by the shard
 */
async function openShard(
  list: ModelFile,
  shard: CacheShard,
  files: FileDraft[],
  lists: number,
  folder: ModelFolder,
  options: ReadOptions,
): Promise<number> {
  const fail = fileErrors(list.source);
  const path = list.path.slice(0, list.path.lastIndexOf("/") + 1) + shard.path;
  let index = files.findIndex((file) => file.path === path);
  if (index !== -1 && index < lists) throw fail("malformed", `"${shorten(shard.path)}" is a list itself`);
  if (index === -1) {
    const source = await folder.open(path, options);
    if (!source) {
      const reason = `"${shorten(shard.path)}" is missing`;
      throw fail("not-found", reason, {
        tensor: shard.records[0]?.name,
        hint: "Put all shards into one folder",
      });
    }
    index = files.push({ path, source }) - 1;
  }
  const size = files[index]?.source.size;
  if (size !== shard.size) {
    const reason = `"${shorten(shard.path)}" has ${size} bytes, not ${shard.size}`;
    throw fail("size-mismatch", reason, { hint: "Get the shard again: it is cut off, or of another cache" });
  }
  return index;
}

function notesOf(path: string, shards: readonly CacheShard[]): string[] {
  const records = shards.flatMap((shard) => shard.records);
  const narrowed = records.filter((record) => record.narrowed).length;
  const notes = records
    .filter(({ unknown }) => unknown !== undefined)
    .map(({ name, unknown = "" }) => {
      return `Tensor "${shorten(name)}" is of dtype "${shorten(unknown)}", which tare does not know: kept as plain bytes`;
    });
  if (narrowed > 0) {
    notes.unshift(`"${path}" stores float32 tensors as bfloat16, the dtype of their weights: ${narrowed}`);
  }
  return notes;
}
