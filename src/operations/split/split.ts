import { join, resolve } from "node:path";
import type { SplitLayout, SplitTextFile, SplitWeightFile } from "./split-layout.ts";
import { planSplit } from "./split-plan.ts";
import {
  parseSplitRecord,
  SPLIT_RECORD,
  type SplitFileKind,
  type SplitRecord,
  type SplitRecordFile,
  splitRecordJson,
} from "./split-record.ts";
import type { SplitRule } from "./split-rules.ts";
import type { Digest } from "../../tensor/digest.ts";
import type { StoredModel } from "../../model/stored-model.ts";
import { openFileSource } from "../../node/file-source.ts";
import { sha256 } from "../../node/sha256.ts";
import { readSplitRecord, type SplitFolderOptions, writeSplitFolder } from "./split-folder.ts";
import { layOutSplit, splitFormat } from "./split-contents.ts";
import type { LocalStore } from "../../local-store/local-store.ts";
import { withModels } from "../../store/with-model.ts";
import { requireModel } from "../../store/require-model.ts";

/** Options of `TareStore.split`. */
export interface SplitOptions extends SplitFolderOptions {
  /** Where weights go that are not to go where they differ; the first rule that selects a weight counts. */
  readonly rules?: readonly SplitRule[] | undefined;
  /** Folder of an earlier split: its foundation stays as it is where it can, and what an update ships is told. */
  readonly since?: string | undefined;
}

/** A file of a split. */
export interface SplitFileInfo {
  readonly path: string;
  /** `original` files are for `tare join` only: engines need none. */
  readonly kind: SplitFileKind;
  /** Those that need it. */
  readonly models: readonly string[];
  readonly weights: number;
  /** In bytes. */
  readonly size: number;
  /** Whether an earlier split lacks it; `undefined` where none was named. */
  readonly ships: boolean | undefined;
}

/** What a split consists of. All sizes in bytes. */
export interface SplitResult {
  /** The folder; `undefined` where nothing was written. */
  readonly path: string | undefined;
  readonly format: string;
  readonly files: readonly SplitFileInfo[];
  /** The models as they were added. */
  readonly fileBytes: number;
  /** What engines need of the split. */
  readonly splitBytes: number;
  /** Weights that are in several adapters. */
  readonly repeatedBytes: number;
  /** What engines need that an earlier split lacks. */
  readonly shipBytes: number | undefined;
}

/** A split that was planned: everything but the writing. */
interface Planned {
  readonly layout: SplitLayout;
  readonly originals: readonly SplitTextFile[];
  readonly result: SplitResult;
  readonly record: (digests: readonly Digest[]) => SplitRecord;
}

/**
 * Writes models as files that need no tare: one foundation, an adapter for each.
 * @param path the folder; only planned if left out
 */
export async function split(
  store: LocalStore,
  names: readonly string[],
  path: string | undefined,
  options: SplitOptions = {},
): Promise<SplitResult> {
  return withModels(store, [...new Set(names)], async (models) => {
    const { layout, originals, record, result } = await plan(store, models, options);
    if (path === undefined) return result;
    for (const model of models) await requireModel(store, model);
    const contents = {
      weightFiles: layout.weightFiles,
      written: [...layout.written, ...originals],
      links: layout.links,
      record: (digests: readonly Digest[]) => ({
        path: SPLIT_RECORD,
        value: splitRecordJson(record(digests)),
      }),
    };
    const written = await writeSplitFolder(path, contents, (digest) => store.blobPath(digest), options);
    return { ...result, path: written };
  });
}

async function plan(
  store: LocalStore,
  models: readonly StoredModel[],
  options: SplitOptions,
): Promise<Planned> {
  const since = options.since === undefined ? undefined : await openSplit(options.since);
  const format = splitFormat(models);
  const { rules } = options;
  const parts = planSplit(models, { rules, ...(since && { foundation: since.foundation }) });
  const { layout, originals } = await layOutSplit(store, format, models, parts);

  const infoOf = (file: SplitTextFile, kind: SplitFileKind, ships: boolean | undefined): SplitFileInfo => {
    const { path, models: users, bytes } = file;
    return { path, kind, models: users, weights: 0, size: bytes.byteLength, ships };
  };
  const files: SplitFileInfo[] = [];
  for (const { path, part, models: users, weights, file } of layout.weightFiles) {
    const ships = since && !(await holdsWeightFile(since, options.since as string, path, file));
    files.push({ path, kind: part, models: users, weights: weights.length, size: file.size, ships });
  }
  const known = new Set(since?.files.map((file) => file.digest));
  for (const file of layout.written)
    files.push(infoOf(file, "program", since && !known.has(sha256(file.bytes))));
  for (const file of originals) files.push(infoOf(file, "original", since && !known.has(sha256(file.bytes))));
  const needed = files.filter((file) => file.kind !== "original");
  const result: SplitResult = {
    path: undefined,
    format,
    files,
    fileBytes: models.flatMap((model) => model.config.files).reduce((sum, file) => sum + file.size, 0),
    splitBytes: sizeOf(needed),
    repeatedBytes: parts.repeatedBytes,
    shipBytes: since && sizeOf(needed.filter((file) => file.ships)),
  };
  const record = (digests: readonly Digest[]): SplitRecord => ({
    format,
    files: [
      ...layout.weightFiles.map((file, index) => recordOf(file, digests[index] as Digest)),
      ...layout.written.map((file) => textRecordOf(file, "program")),
      ...originals.map((file) => textRecordOf(file, "original")),
    ],
    models: models.map(({ name, config }) => ({ name, config })),
    foundation: parts.foundation.weights,
    locations: layout.weightFiles.flatMap(({ file }, index) =>
      file.weights.map(({ digest, from: { length } }, nth) => {
        return { digest, blob: digests[index] as Digest, offset: file.offsets[nth] as number, length };
      }),
    ),
  });
  return { layout, originals, result, record };
}

/** Whether an earlier split has a file with these weights in these places behind this header. */
async function holdsWeightFile(
  since: SplitRecord,
  folder: string,
  path: string,
  file: SplitWeightFile["file"],
): Promise<boolean> {
  const old = since.files.find((each) => each.path === path && each.size === file.size);
  if (!old) return false;
  const spell = (digest: Digest, offset: number): string => `${digest}@${offset}`;
  const places = new Set(
    since.locations
      .filter((each) => each.blob === old.digest)
      .map(({ digest, offset }) => spell(digest, offset)),
  );
  if (places.size !== file.weights.length) return false;
  if (!file.weights.every(({ digest }, nth) => places.has(spell(digest, file.offsets[nth] as number))))
    return false;
  await using source = await openFileSource(join(resolve(folder), path));
  if (source.size !== file.size) return false;
  return Buffer.compare(await source.read(0, file.header.byteLength), file.header) === 0;
}

/** The record of a split's folder, checked. */
export async function openSplit(folder: string): Promise<SplitRecord> {
  const { value, path } = await readSplitRecord(folder, SPLIT_RECORD);
  return parseSplitRecord(value, path);
}

function recordOf({ path, part, models, file }: SplitWeightFile, digest: Digest): SplitRecordFile {
  return { path, kind: part, models, size: file.size, digest };
}

function textRecordOf({ path, models, bytes }: SplitTextFile, kind: SplitFileKind): SplitRecordFile {
  return { path, kind, models, size: bytes.byteLength, digest: sha256(bytes) };
}

function sizeOf(files: readonly SplitFileInfo[]): number {
  return files.reduce((sum, file) => sum + file.size, 0);
}
