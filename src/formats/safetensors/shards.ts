import type { ReadOptions } from "../../io/byte-source.ts";
import { fileErrors, FormatError, operationError, shorten } from "../../errors.ts";
import type { FileDraft } from "../../model/draft.ts";
import type { ModelFile, ModelFolder } from "../format.ts";
import type { SafetensorsHeader } from "./parse-header.ts";
import { readSafetensorsHeader } from "./read-header.ts";
import {
  findIndexMismatch,
  HINT,
  type IndexMismatch,
  readShardIndex,
  type ShardIndex,
} from "./shard-index.ts";
import { indexName, parseShardName, type ShardName, shardName } from "./shard-name.ts";

/** The name that Hugging Face's writers give a whole model. */
const COMMON_PREFIX = "model";

/** A file with its parsed header. */
export interface ReadFile extends FileDraft {
  readonly header: SafetensorsHeader;
}

/** All files of a sharded model. */
export interface GatheredShards {
  /** Indices of the files, in the order of their names. */
  readonly shards: readonly number[];
  /** The file that maps tensors to shards. */
  readonly index?: FileDraft;
  /** Harmless oddities. */
  readonly notes: readonly string[];
}

/** Reads the header of a file. */
export async function readFile(file: ModelFile, options: ReadOptions): Promise<ReadFile> {
  return { path: file.path, source: file.source, header: await readSafetensorsHeader(file.source, options) };
}

/**
 * Finds all shards of a model: those that its index names, or, without an index, as many as their names say. Shards that
 * are all there by their names are read though the index disagrees, with a note, if they have each of its tensors.
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
  const find = finderIn(all, folder, options);
  const given = all.map(({ path }) => path).filter((path) => isOf(one, path));
  const file = await openIndex(one, folder, options);
  const base = one.prefix.slice(0, one.prefix.lastIndexOf("/") + 1);
  if (!file)
    return { shards: shardsOf([...(await findNumbered(one, given, find)), ...given], all), notes: [] };
  const index = await readShardIndex(file.source, options);
  const named = await findIndexed(index, base, find);
  const paths = [...new Set([...named.paths, ...given])];
  if (!named.missing && paths.length >= one.count) {
    const shards = shardsOf(paths, all);
    const mismatch = mismatchOf(index, base, shards, all);
    if (!mismatch) return { shards, index: file, notes: notesOf(index, shards, all) };
    if (mismatch.isMissing) throw mismatch.error;
  }
  const whole = await findWhole(one, find);
  if (!whole) throw named.missing ?? tooFew(index, named.paths.length, one);
  const shards = shardsOf([...whole, ...given], all);
  const mismatch = mismatchOf(index, base, shards, all);
  if (mismatch?.isMissing) throw named.missing ?? mismatch.error;
  const note = `"${index.name}" does not fit the shards beside it, which are complete: read without the index`;
  return { shards, index: file, notes: [note] };
}

/**
 * Finds the shards of a file whose name has no number, by the index of its folder.
 * @returns `undefined` if there is no index, or it does not name the file
 * @throws FormatError what {@link gatherShards} throws
 */
export async function gatherIndexed(
  path: string,
  all: ReadFile[],
  folder: ModelFolder,
  options: ReadOptions,
): Promise<(GatheredShards & { readonly name: string }) | undefined> {
  const base = path.slice(0, path.lastIndexOf("/") + 1);
  const name = `${base}${COMMON_PREFIX}`;
  if (path === `${name}.safetensors`) return undefined;
  const file = await openIndex({ prefix: name }, folder, options);
  const index = file && (await readShardIndex(file.source, options));
  if (!index || ![...index.files.values()].includes(path.slice(base.length))) return undefined;
  const { paths, missing } = await findIndexed(index, base, finderIn(all, folder, options));
  if (missing) throw missing;
  const shards = shardsOf(paths, all);
  const mismatch = mismatchOf(index, base, shards, all);
  if (mismatch) throw mismatch.error;
  return { name, shards, index: file, notes: notesOf(index, shards, all) };
}

/** Opens a file of the folder unless it was read before. @returns whether it is there */
type Find = (path: string) => Promise<boolean>;

function finderIn(all: ReadFile[], folder: ModelFolder, options: ReadOptions): Find {
  const found = new Set(all.map(({ path }) => path));
  return async (path) => {
    if (found.has(path)) return true;
    const source = await folder.open(path, options);
    if (!source) return false;
    all.push(await readFile({ path, source }, options));
    found.add(path);
    return true;
  };
}

/** Indices of files, in the order of their names. @throws FormatError `duplicate` */
function shardsOf(paths: readonly string[], all: readonly ReadFile[]): number[] {
  const places = new Map(all.map(({ path }, nth) => [path, nth]));
  const shards = [...new Set(paths)].sort(byShard).map((path) => places.get(path) as number);
  checkHomes(shards.map((nth) => all[nth] as ReadFile));
  return shards;
}

/** Numbers without leading zeros sort by their value; files without one are the last. */
function byShard(a: string, b: string): number {
  const [first, second] = [parseShardName(a)?.no ?? Infinity, parseShardName(b)?.no ?? Infinity];
  if (first !== second) return first < second ? -1 : 1;
  return a < b ? -1 : 1;
}

function mismatchOf(
  index: ShardIndex,
  base: string,
  shards: readonly number[],
  all: readonly ReadFile[],
): IndexMismatch | undefined {
  const relative = shards.map((nth) => {
    const { path, header } = all[nth] as ReadFile;
    return { path: path.slice(base.length), header };
  });
  return findIndexMismatch(index, relative);
}

function tooFew(index: ShardIndex, named: number, one: ShardName): FormatError {
  const reason = `it names ${named} of ${one.count} shards, the number in the name "${shardName(one)}"`;
  return fileErrors(index)("mismatch", reason, { hint: HINT });
}

/** Whether a file is another shard of the model. */
function isOf(one: ShardName, path: string): boolean {
  const other = parseShardName(path);
  return other?.prefix === one.prefix && other.separator === one.separator && other.count === one.count;
}

async function openIndex(
  one: Pick<ShardName, "prefix">,
  folder: ModelFolder,
  options: ReadOptions,
): Promise<FileDraft | undefined> {
  const path = indexName(one);
  const source = await folder.open(path, options);
  return source && { path, source };
}

/** Opens all shards that an index names. @returns their paths, and the error of the first that is not there */
async function findIndexed(
  index: ShardIndex,
  base: string,
  find: Find,
): Promise<{ readonly paths: readonly string[]; readonly missing?: FormatError }> {
  const paths = new Set<string>();
  for (const [tensor, file] of index.files) {
    const path = `${base}${file}`;
    if (paths.has(path)) continue;
    if (!(await find(path))) {
      const reason = `the index says it is in "${shorten(file)}", which is not there`;
      const hint = "Put all shards into one folder";
      return { paths: [...paths], missing: fileErrors(index)("not-found", reason, { tensor, hint }) };
    }
    paths.add(path);
  }
  return { paths: [...paths] };
}

/** Opens shards 1 to N. @returns their paths; `undefined` if one is not there */
async function findWhole(one: ShardName, find: Find): Promise<string[] | undefined> {
  const paths: string[] = [];
  for (let no = 1; no <= one.count; no++) {
    const path = shardName({ ...one, no });
    if (!(await find(path))) return undefined;
    paths.push(path);
  }
  return paths;
}

/** Opens shards 1 to N; if there is a shard 0, the Nth may be missing. @returns their paths */
async function findNumbered(one: ShardName, given: readonly string[], find: Find): Promise<string[]> {
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

function notesOf(index: ShardIndex, shards: readonly number[], all: readonly ReadFile[]): string[] {
  let total = 0;
  for (const nth of shards) for (const { length } of (all[nth] as ReadFile).header.tensors) total += length;
  if (index.totalSize === undefined || index.totalSize === total) return [];
  return [`"${index.name}" gives the tensors ${index.totalSize} bytes; they have ${total}`];
}
