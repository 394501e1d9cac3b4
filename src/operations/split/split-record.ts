import * as v from "valibot";
import {
  configJson,
  digestSchema,
  type ModelConfig,
  newerVersion,
  parseConfig,
  parseShape,
  sizeSchema,
  storedPathSchema,
  type Weight,
  weightSchema,
} from "../../model/config.ts";
import type { Digest } from "../../tensor/digest.ts";
import type { Location } from "../../model/manifest.ts";

/** Name of the record in a split's folder. */
export const SPLIT_RECORD = "split.json";
/** Version of the record. */
const VERSION = 1;

/** The kind of a file of a split. */
export type SplitFileKind = "foundation" | "adapter" | "program" | "original";

/** A file of a split. */
export interface SplitRecordFile {
  readonly path: string;
  readonly kind: SplitFileKind;
  /** Names of the models that need it. */
  readonly models: readonly string[];
  /** Size in bytes. */
  readonly size: number;
  /** sha256 of the file. */
  readonly digest: Digest;
}

/** Record of a split's folder. `joinSplit` restores models from it, and `split` compares it to find an update. */
export interface SplitRecord {
  readonly format: string;
  readonly files: readonly SplitRecordFile[];
  readonly models: readonly { readonly name: string; readonly config: ModelConfig }[];
  readonly foundation: readonly Weight[];
  /** Location of each weight; `blob` is the digest of a file of the split. */
  readonly locations: readonly ({ readonly digest: Digest } & Location)[];
}

const record = v.object({
  format: v.string(),
  files: v.array(
    v.object({
      path: storedPathSchema,
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

/** Converts a record to the JSON that {@link parseSplitRecord} reads. */
export function splitRecordJson(value: SplitRecord): unknown {
  const models = value.models.map(({ name, config }) => ({ name, config: configJson(config) }));
  return { version: VERSION, ...value, models };
}

/**
 * Parses a record.
 * @param name name of its file, for errors
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
