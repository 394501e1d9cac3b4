import * as v from "valibot";
import { FormatError } from "../errors.ts";
import type { HexCase } from "../io/hex.ts";
import type { ByteEncoding } from "../io/byte-encoding.ts";
import type { VarintArray } from "../io/varint-array.ts";
import { DTYPE_BITS, type DType, tensorBytes } from "../tensor/dtype.ts";
import { type Digest, isDigest } from "../tensor/digest.ts";

/** The version of the config and of the store's layout that this code writes; it reads no newer one. */
export const MODEL_VERSION = 1;

/** A weight of a model: what it is, not where its bytes are. */
export interface Weight {
  /** Unique within its method. */
  readonly name: string;
  readonly dtype: DType;
  readonly shape: readonly number[];
  /** sha256 of its bytes, little-endian and row-major. */
  readonly digest: Digest;
}

/** A range of a model's file that a weight's bytes fill. */
export interface Hole extends ByteEncoding {
  /** In bytes from the start of the file. */
  readonly offset: number;
  /** Bytes in the file. */
  readonly length: number;
  readonly digest: Digest;
}

/** One of a model's original files. */
export interface StoredFile {
  /** Relative, with `/` between names. */
  readonly path: string;
  /** In bytes. */
  readonly size: number;
  /** Digest of the bytes that are no weight, end to end. */
  readonly skeleton: Digest;
  /** Sorted by offset, apart from each other. */
  readonly holes: readonly Hole[];
}

/** One graph of a model. */
export interface Method {
  readonly name: string;
  /** Index into {@link ModelConfig.files}; the rest of that file is the method's program. */
  readonly file: number;
  readonly weights: readonly Weight[];
  /** Tensors in other files that belong to the program: a compiler depends on their values. */
  readonly constants: readonly Weight[];
}

/** What a model is; the config blob of its manifest. */
export interface ModelConfig {
  readonly version: typeof MODEL_VERSION;
  readonly format: string;
  readonly methods: readonly Method[];
  readonly files: readonly StoredFile[];
}

/** A whole number of bytes, or of elements. */
export const sizeSchema: v.GenericSchema<number> = v.pipe(v.number(), v.safeInteger(), v.minValue(0));
export const digestSchema: v.GenericSchema<Digest> = v.custom<Digest>(
  (value) => typeof value === "string" && isDigest(value),
  "not a sha256 digest",
);
/** Export joins these to a folder: each part must be a plain name. */
const relativePath = v.pipe(
  v.string(),
  v.minLength(1),
  v.check((path) => isPlainPath(path), "not a plain relative path"),
);

export const weightSchema: v.GenericSchema<Weight> = v.pipe(
  v.object({
    name: v.string(),
    dtype: v.picklist(Object.keys(DTYPE_BITS) as DType[]),
    shape: v.array(sizeSchema),
    digest: digestSchema,
  }),
  v.check(({ dtype, shape }) => tensorBytes(dtype, shape) !== undefined, "a shape that is too large"),
);
const varint: v.GenericSchema<VarintArray> = v.object({
  width: v.picklist([1, 2, 4, 8] as const),
  signed: v.boolean(),
});
/** How a file spells a weight. */
export const encodingEntries: {
  readonly varint: v.ExactOptionalSchema<typeof varint, undefined>;
  readonly hex: v.ExactOptionalSchema<v.GenericSchema<HexCase>, undefined>;
} = {
  varint: v.exactOptional(varint),
  hex: v.exactOptional(v.picklist(["upper", "lower"])),
};
const hole: v.GenericSchema<Hole> = v.object({
  offset: sizeSchema,
  length: sizeSchema,
  digest: digestSchema,
  ...encodingEntries,
});
/** On disk the digest of a skeleton has the key `rest`. */
const file: v.GenericSchema<unknown, StoredFile> = v.pipe(
  v.object({ path: relativePath, size: sizeSchema, rest: digestSchema, holes: v.array(hole) }),
  v.transform(({ path, size, rest, holes }): StoredFile => ({ path, size, skeleton: rest, holes })),
  v.check(({ size, holes }) => {
    let at = 0;
    return holes.every((each) => {
      const apart = each.offset >= at && each.length <= size - each.offset;
      at = each.offset + each.length;
      return apart;
    });
  }, "holes that overlap, are out of order or leave the file"),
);
const method: v.GenericSchema<Method> = v.object({
  name: v.pipe(v.string(), v.minLength(1)),
  file: sizeSchema,
  weights: v.array(weightSchema),
  constants: v.array(weightSchema),
});
const config: v.GenericSchema<unknown, ModelConfig> = v.pipe(
  v.object({
    version: v.literal(MODEL_VERSION),
    format: v.string(),
    methods: v.array(method),
    files: v.array(file),
  }),
  v.check(
    ({ methods, files }) => methods.every((each) => each.file < files.length),
    "a method without a file",
  ),
  v.check(
    ({ files }) => new Set(files.map((each) => each.path)).size === files.length,
    "two files of one path",
  ),
);

/**
 * Checks a config read from a store or registry.
 * @throws FormatError `newer-version`, `malformed`
 */
export function parseConfig(value: unknown, name: string): ModelConfig {
  const version = (value as { version?: unknown } | null)?.version;
  if (typeof version === "number" && version > MODEL_VERSION) throw newerVersion(name, version);
  return parseShape(config, value, name);
}

/** Returns the JSON value that {@link parseConfig} reads: the digest of a skeleton has the key `rest` there. */
export function configJson(value: ModelConfig): unknown {
  const files = value.files.map(({ path, size, skeleton, holes }) => ({ path, size, rest: skeleton, holes }));
  return { ...value, files };
}

/** Refuses what a later tare wrote. */
export function newerVersion(name: string, version: number | string): FormatError {
  return new FormatError(
    "newer-version",
    `Cannot read "${name}": it has version ${version}, this tare reads ${MODEL_VERSION}`,
    {
      path: name,
      hint: "install a newer tare",
    },
  );
}

/** Checks a value against a schema; the error says what is wrong and where in the value. */
export function parseShape<T>(schema: v.GenericSchema<unknown, T>, value: unknown, name: string): T {
  const result = v.safeParse(schema, value, { abortEarly: true });
  if (result.success) return result.output;
  const [issue] = result.issues;
  const where = v.getDotPath(issue);
  throw new FormatError(
    "malformed",
    `Cannot read "${name}"${where ? ` at ${where}` : ""}: ${issue.message}`,
    {
      path: name,
    },
  );
}

/** Whether a path stays below the folder it is joined to, on every system. */
export function isPlainPath(path: string): boolean {
  return path
    .split("/")
    .every((part) => part !== "" && part !== "." && part !== ".." && !/[\\\0:]/.test(part));
}
