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

/** Options of {@link split}. */
export interface SplitOptions extends SplitFolderOptions {
  /** Rules that take precedence over the default; the first rule that matches a weight applies. */
  readonly rules?: readonly SplitRule[] | undefined;
  /** Folder of an earlier split: keep its foundation if possible, and find the files that an update ships. */
  readonly since?: string | undefined;
}

/** A file of a split. */
export interface SplitFileInfo {
  readonly path: string;
  /** Engines do not need `original` files: they are for `tare join`. */
  readonly kind: SplitFileKind;
  /** Names of the models that need it. */
  readonly models: readonly string[];
  readonly weights: number;
  /** Size in bytes. */
  readonly size: number;
  /** Whether the earlier split does not have it; `undefined` without an earlier split. */
  readonly ships: boolean | undefined;
}

/** Result of a split. Sizes in bytes. */
export interface SplitResult {
  /** Path of the folder; `undefined` if nothing was written. */
  readonly path: string | undefined;
  readonly format: string;
  readonly files: readonly SplitFileInfo[];
  /** Size of the original files of the models. */
  readonly fileBytes: number;
  /** Size of the files that engines need. */
  readonly splitBytes: number;
  /** Size of the repeated copies of weights that several adapters have. */
  readonly repeatedBytes: number;
  /** Size of the files that engines need and that the earlier split does not have. */
  readonly shipBytes: number | undefined;
}

/** A planned split, before its files are written. */
interface Planned {
  readonly layout: SplitLayout;
  readonly originals: readonly SplitTextFile[];
  readonly result: SplitResult;
  readonly record: (digests: readonly Digest[]) => SplitRecord;
}

/**
 * Writes models as files that engines open without tare: one foundation, and an adapter for each model.
 * @param path path of the new folder; if `undefined`, the split is only planned
 * @throws UsageError, LinkError, StoreError; SourceError `exists`, `disk-full`
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

/** Whether an earlier split has a file with the same header, and the same weights at the same offsets. */
async function holdsWeightFile(
  since: SplitRecord,
  folder: string,
  path: string,
  file: SplitWeightFile["file"],
): Promise<boolean> {
  const old = since.files.find((each) => each.path === path && each.size === file.size);
  if (!old) return false;
  const placeKey = (digest: Digest, offset: number): string => `${digest}@${offset}`;
  const places = new Set(
    since.locations
      .filter((each) => each.blob === old.digest)
      .map(({ digest, offset }) => placeKey(digest, offset)),
  );
  if (places.size !== file.weights.length) return false;
  if (!file.weights.every(({ digest }, nth) => places.has(placeKey(digest, file.offsets[nth] as number))))
    return false;
  await using source = await openFileSource(join(resolve(folder), path));
  if (source.size !== file.size) return false;
  return Buffer.compare(await source.read(0, file.header.byteLength), file.header) === 0;
}

/** Reads and checks the record of a split's folder. */
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
