import * as v from "valibot";
import {
  configJson,
  digestSchema,
  isPlainPath,
  type ModelConfig,
  newerVersion,
  parseConfig,
  parseShape,
  sizeSchema,
  type Weight,
  weightSchema,
} from "../../model/config.ts";
import type { Digest } from "../../tensor/digest.ts";
import type { Location } from "../../model/manifest.ts";

/** Name of the record in a split's folder. */
export const SPLIT_RECORD = "split.json";
/** Of the record; this code reads no other. */
const VERSION = 1;

/** What a file of a split is. */
export type SplitFileKind = "foundation" | "adapter" | "program" | "original";

/** A file of a split. */
export interface SplitRecordFile {
  readonly path: string;
  readonly kind: SplitFileKind;
  /** Names of the models that need it. */
  readonly models: readonly string[];
  /** In bytes. */
  readonly size: number;
  /** sha256 of the file. */
  readonly digest: Digest;
}

/** What a split's folder holds: enough to put the models together again, and to tell what an update has to ship. */
export interface SplitRecord {
  readonly format: string;
  readonly files: readonly SplitRecordFile[];
  readonly models: readonly { readonly name: string; readonly config: ModelConfig }[];
  readonly foundation: readonly Weight[];
  /** Where each weight lies, a file being named by its digest. */
  readonly locations: readonly ({ readonly digest: Digest } & Location)[];
}

const record = v.object({
  format: v.string(),
  files: v.array(
    v.object({
      path: v.pipe(
        v.string(),
        v.check((path) => isPlainPath(path), "not a plain relative path"),
      ),
      kind: v.picklist(["foundation", "adapter", "program", "original"]),
      models: v.array(v.string()),
      size: sizeSchema,
      digest: digestSchema,
    }),
  ),
  models: v.array(v.object({ name: v.string(), config: v.unknown() })),
  foundation: v.array(weightSchema),
  locations: v.array(
    v.object({ digest: digestSchema, blob: digestSchema, offset: sizeSchema, length: sizeSchema }),
  ),
});

/** The record as JSON that {@link parseSplitRecord} reads. */
export function splitRecordJson(value: SplitRecord): unknown {
  const models = value.models.map(({ name, config }) => ({ name, config: configJson(config) }));
  return { version: VERSION, ...value, models };
}

/**
 * Checks a record read from a folder.
 * @param name of its file, for errors
 * @throws FormatError `malformed`, `newer-version`
 */
export function parseSplitRecord(value: unknown, name: string): SplitRecord {
  const version = (value as { version?: unknown } | null)?.version;
  if (typeof version === "number" && version > VERSION) throw newerVersion(name, version);
  const parsed = parseShape(record as v.GenericSchema<v.InferOutput<typeof record>>, value, name);
  const models = parsed.models.map(({ name: model, config }) => {
    return { name: model, config: parseConfig(config, `${name}, model "${model}"`) };
  });
  return { ...parsed, models };
}
