import * as v from "valibot";
import { FormatError } from "../errors.ts";
import type { HexCase } from "../io/hex.ts";
import type { ByteEncoding } from "../io/byte-encoding.ts";
import type { VarintArray } from "../io/varint-array.ts";
import { DTYPE_BITS, type DType, tensorBytes } from "../tensor/dtype.ts";
import { type Digest, isDigest } from "../tensor/digest.ts";

/** The version of configs and of the store's layout that this code writes, and the newest that it reads. */
export const MODEL_VERSION = 1;

/** A weight of a model by name, layout and digest. */
export interface Weight {
  /** Unique within its method. */
  readonly name: string;
  readonly dtype: DType;
  readonly shape: readonly number[];
  /** sha256 of the weight's bytes, little-endian and row-major. */
  readonly digest: Digest;
}

/** A range of a model's file that contains a weight. */
export interface Hole extends ByteEncoding {
  /** Offset in the file, in bytes. */
  readonly offset: number;
  /** Length in the file, in bytes, which for an encoded weight is not the weight's own. */
  readonly length: number;
  readonly digest: Digest;
}

/** One of a model's original files. */
export interface StoredFile {
  /** Relative, with `/` between names. */
  readonly path: string;
  /** Size in bytes. */
  readonly size: number;
  /** Digest of the skeleton: the bytes outside of the holes, concatenated. */
  readonly skeleton: Digest;
  /** Sorted by offset, without overlap. */
  readonly holes: readonly Hole[];
}

/** One graph of a model. */
export interface Method {
  readonly name: string;
  /** Index into {@link ModelConfig.files}; the skeleton of that file is the method's program. */
  readonly file: number;
  readonly weights: readonly Weight[];
  /** Tensors in other files that belong to the program, since a compiler depends on their values. */
  readonly constants: readonly Weight[];
}

/** The description of a model: the config blob of its manifest. */
export interface ModelConfig {
  readonly version: typeof MODEL_VERSION;
  readonly format: string;
  readonly methods: readonly Method[];
  readonly files: readonly StoredFile[];
}

/** Schema of a number of bytes or elements. */
export const sizeSchema: v.GenericSchema<number> = v.pipe(v.number(), v.safeInteger(), v.minValue(0));
export const digestSchema: v.GenericSchema<Digest> = v.custom<Digest>(
  (value) => typeof value === "string" && isDigest(value),
  "not a sha256 digest",
);
/** Schema of the path of a stored file: {@link isRelativePath}. */
export const storedPathSchema: v.GenericSchema<string> = v.pipe(
  v.string(),
  v.check((path) => isRelativePath(path), "not a relative path"),
);

export const weightSchema: v.GenericSchema<Weight> = v.pipe(
  v.object({
    name: v.string(),
    dtype: v.picklist(Object.keys(DTYPE_BITS) as DType[]),
    shape: v.array(sizeSchema),
    digest: digestSchema,
  }),
  v.check(({ dtype, shape }) => tensorBytes(dtype, shape) !== undefined, "the shape is too large"),
);
const varint: v.GenericSchema<VarintArray> = v.object({
  width: v.picklist([1, 2, 4, 8] as const),
  signed: v.boolean(),
});
/** Schema entries of a {@link ByteEncoding}. */
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
  v.object({ path: storedPathSchema, size: sizeSchema, rest: digestSchema, holes: v.array(hole) }),
  v.transform(({ path, size, rest, holes }): StoredFile => ({ path, size, skeleton: rest, holes })),
  v.check(({ size, holes }) => {
    let at = 0;
    return holes.every((each) => {
      const apart = each.offset >= at && each.length <= size - each.offset;
      at = each.offset + each.length;
      return apart;
    });
  }, "holes overlap, are out of order, or end after the file"),
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
  v.check(({ methods, files }) => methods.every((each) => each.file < files.length), "a method has no file"),
  v.check(
    ({ files }) => new Set(files.map((each) => each.path)).size === files.length,
    "two files have the same path",
  ),
);

/**
 * Parses a config from a store or registry.
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

/** Makes the error for data that a later version of tare wrote. */
export function newerVersion(name: string, version: number | string): FormatError {
  return new FormatError(
    "newer-version",
    `Cannot read "${name}": it has version ${version}, this tare reads ${MODEL_VERSION}`,
    {
      path: name,
      hint: "Install a newer tare",
    },
  );
}

/**
 * Parses a value with a schema.
 * @param name name of the document, for errors
 * @throws FormatError `malformed`, with the path of the fault in the value
 */
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

/**
 * Whether a path is one that a store accepts: relative, with `/` between names, without `.`, `..` and NUL. A name may have `\`
 * and `:`, as POSIX allows; Windows cannot write such a file.
 */
export function isRelativePath(path: string): boolean {
  return path
    .split("/")
    .every((part) => part !== "" && part !== "." && part !== ".." && !part.includes("\0"));
}

/** Whether a path is relative and, on every system, inside of the folder that it is joined to. */
export function isPlainPath(path: string): boolean {
  return isRelativePath(path) && !/[\\:]/.test(path);
}
