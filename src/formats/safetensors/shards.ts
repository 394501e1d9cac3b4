import type { ReadOptions } from "../../io/byte-source.ts";
import { fileErrors, FormatError, operationError, shorten } from "../../errors.ts";
import type { FileDraft } from "../../model/draft.ts";
import type { ModelFile, ModelFolder } from "../format.ts";
import type { SafetensorsHeader } from "./parse-header.ts";
import { readSafetensorsHeader } from "./read-header.ts";
import { checkShardIndex, HINT, readShardIndex, type ShardIndex } from "./shard-index.ts";
import { indexName, parseShardName, type ShardName, shardName } from "./shard-name.ts";

/** A file with its parsed header. */
export interface ReadFile extends FileDraft {
  readonly header: SafetensorsHeader;
}

/** All files of a sharded model. */
export interface GatheredShards {
  /** Indices of the files, in the order of their names. */
  readonly shards: readonly number[];
  /** The file that maps tensors to shards. */
  readonly index: FileDraft | undefined;
  /** Harmless oddities. */
  readonly notes: readonly string[];
}

/** Reads the header of a file. */
export async function readFile(file: ModelFile, options: ReadOptions): Promise<ReadFile> {
  return { path: file.path, source: file.source, header: await readSafetensorsHeader(file.source, options) };
}

/**
 * Finds all shards of a model: those that its index names, or, without an index, as many as their names say.
 * @param all files that were read; the function adds those of the folder
 * @throws FormatError `not-found` for a missing shard; `mismatch` if shards and index disagree; `duplicate` for a
 * tensor in two shards; `bad-name`
 */
export async function gatherShards(
  one: ShardName,
  all: ReadFile[],
  folder: ModelFolder,
  options: ReadOptions,
): Promise<GatheredShards> {
  const found = new Map(all.map(({ path }, nth) => [path, nth]));
  const find = async (path: string): Promise<boolean> => {
    if (found.has(path)) return true;
    const source = await folder.open(path, options);
    if (source) found.set(path, all.push(await readFile({ path, source }, options)) - 1);
    return source !== undefined;
  };
  const given = all.map(({ path }) => path).filter((path) => isOf(one, path));
  const indexFile = await openIndex(one, folder, options);
  const index = indexFile && (await readShardIndex(indexFile.source, options));
  const base = one.prefix.slice(0, one.prefix.lastIndexOf("/") + 1);
  const named = index ? await findIndexed(index, base, find) : await findNumbered(one, given, find);

  const paths = [...new Set([...named, ...given])].sort();
  if (index && paths.length < one.count) {
    const reason = `it names ${named.length} of ${one.count} shards, the number in the name "${shardName(one)}"`;
    throw fileErrors(index)("mismatch", reason, { hint: HINT });
  }
  const shards = paths.map((path) => found.get(path) as number);
  const read = shards.map((nth) => all[nth] as ReadFile);
  checkHomes(read);
  if (!index) return { shards, index: undefined, notes: [] };
  const relative = read.map((file) => ({ path: file.path.slice(base.length), header: file.header }));
  checkShardIndex(index, relative);
  return { shards, index: indexFile, notes: notesOf(index, read) };
}

/** Whether a file is another shard of the model. */
function isOf(one: ShardName, path: string): boolean {
  const other = parseShardName(path);
  return other?.prefix === one.prefix && other.separator === one.separator && other.count === one.count;
}

async function openIndex(
  one: ShardName,
  folder: ModelFolder,
  options: ReadOptions,
): Promise<FileDraft | undefined> {
  const path = indexName(one);
  const source = await folder.open(path, options);
  return source && { path, source };
}

/** Opens all shards that an index names. @returns their paths */
async function findIndexed(
  index: ShardIndex,
  base: string,
  find: (path: string) => Promise<boolean>,
): Promise<string[]> {
  const paths = new Set<string>();
  for (const [tensor, file] of index.files) {
    const path = `${base}${file}`;
    if (paths.has(path)) continue;
    if (!(await find(path))) {
      const reason = `the index says it is in "${shorten(file)}", which is not there`;
      throw fileErrors(index)("not-found", reason, { tensor, hint: "Put all shards into one folder" });
    }
    paths.add(path);
  }
  return [...paths];
}

/** Opens shards 1 to N; if there is a shard 0, the Nth may be missing. @returns their paths */
async function findNumbered(
  one: ShardName,
  given: readonly string[],
  find: (path: string) => Promise<boolean>,
): Promise<string[]> {
  for (const path of given) {
    if ((parseShardName(path)?.no ?? 0) <= one.count) continue;
    throw fileErrors({ name: path })("bad-name", `its number is past the last of ${one.count} shards`);
  }
  const paths: string[] = [];
  for (let no = 0; no <= one.count; no++) {
    const path = shardName({ ...one, no });
    if (await find(path)) paths.push(path);
    else if (no > 0 && paths.length < one.count) {
      throw operationError(FormatError, {
        code: "not-found",
        doing: `find "${path}", shard ${no} of ${one.count} of "${shorten(one.prefix)}"`,
        path,
        hint: "Put all shards into one folder",
      });
    }
  }
  return paths;
}

function checkHomes(shards: readonly ReadFile[]): void {
  const homes = new Map<string, string>();
  for (const { path, source, header } of shards) {
    for (const { name, offset } of header.tensors) {
      const home = homes.get(name);
      if (home !== undefined)
        throw fileErrors(source)("duplicate", `"${home}" has it too`, { offset, tensor: name });
      homes.set(name, path);
    }
  }
}

function notesOf(index: ShardIndex, shards: readonly ReadFile[]): string[] {
  let total = 0;
  for (const { header } of shards) for (const { length } of header.tensors) total += length;
  if (index.totalSize === undefined || index.totalSize === total) return [];
  return [`"${index.name}" gives the tensors ${index.totalSize} bytes; they have ${total}`];
}
