import { parseStrictJson } from "../../encodings/json.ts";
import { isPlainPath } from "../../model/config.ts";
import { type DType, DTYPE_BITS, isDType, tensorBytes } from "../../tensor/dtype.ts";
import { fileErrors, type FileFail, shorten } from "../../errors.ts";

/** NumPy's limit: caches are made from its arrays. */
export const MAX_DIMENSIONS = 64;

/** A tensor of a cache; its data is not read. */
export interface CacheRecord {
  readonly name: string;
  readonly dtype: DType;
  readonly shape: readonly number[];
  /** Bytes from the start of its shard. */
  readonly offset: number;
  readonly length: number;
  /** The cache's name of the dtype, if it is unknown to tare. */
  readonly unknown?: string;
  /** Whether it was float32 before it was stored. */
  readonly narrowed: boolean;
}

/** A file with tensors of a cache. */
export interface CacheShard {
  /** A plain path, relative to the list's folder. */
  readonly path: string;
  /** In bytes. */
  readonly size: number;
  /** Sorted by offset. */
  readonly records: readonly CacheRecord[];
}

/**
 * Parses the list of a tensor cache: `{metadata, records: [{dataPath, format, nbytes, records: […]}]}`. Checksums of
 * shards are MD5, which proves nothing: they stay in the program and are not checked. Other fields are accepted.
 * Source: tvm.contrib.tvmjs of Apache TVM.
 * @throws FormatError `malformed`, `duplicate`, `unsupported`, `unsafe-path`, `size-mismatch`, `too-large`
 */
export function parseTensorCache(bytes: Uint8Array, name: string): CacheShard[] {
  const fail = fileErrors({ name });
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    throw fail("malformed", "it is not UTF-8");
  }
  const shards = fieldOf(parseStrictJson(text, name), "records");
  if (!Array.isArray(shards)) throw fail("malformed", "it has no list of records");
  const names = new Set<string>();
  const paths = new Set<string>();
  return shards.map((shard: unknown, nth) => {
    const found = parseShard(shard, nth, names, fail);
    if (paths.has(found.path)) throw fail("duplicate", `it has "${shorten(found.path)}" twice`);
    paths.add(found.path);
    return found;
  });
}

function parseShard(value: unknown, nth: number, names: Set<string>, fail: FileFail): CacheShard {
  const path = fieldOf(value, "dataPath");
  if (typeof path !== "string") throw fail("malformed", `file ${nth} has no dataPath`);
  const what = `"${shorten(path)}"`;
  if (!isPlainPath(path)) throw fail("unsafe-path", `${what} is not a plain path in the model's folder`);
  const format = fieldOf(value, "format");
  if (format !== "raw-shard") throw fail("unsupported", `${what} is of format ${quoted(format)}`);
  const size = fieldOf(value, "nbytes");
  if (!isWhole(size)) throw fail("malformed", `${what} has no number of bytes`);
  const list = fieldOf(value, "records");
  if (!Array.isArray(list)) throw fail("malformed", `${what} has no list of records`);
  const records = list.map((record: unknown) => {
    const found = parseRecord(record, what, size, fail);
    if (names.has(found.name)) throw fail("duplicate", "it occurs twice", { tensor: found.name });
    names.add(found.name);
    return found;
  });
  // Of tensors at one offset, those without data come first: they may be many, and overlap nothing.
  records.sort((a, b) => a.offset - b.offset || a.length - b.length);
  let end = 0;
  let before = "";
  for (const { name, offset, length } of records) {
    if (offset < end) {
      const reason = `it starts at byte ${offset} of ${what}, inside tensor "${shorten(before)}"`;
      throw fail("malformed", reason, { tensor: name });
    }
    end = offset + length;
    before = name;
  }
  return { path, size, records };
}

function parseRecord(value: unknown, what: string, size: number, fail: FileFail): CacheRecord {
  const name = fieldOf(value, "name");
  if (typeof name !== "string") throw fail("malformed", `a record of ${what} has no name`);
  const bad = (code: "malformed" | "unsupported" | "size-mismatch", reason: string): Error =>
    fail(code, reason, { tensor: name });
  const said = fieldOf(value, "dtype");
  const format = fieldOf(value, "format");
  const shape = fieldOf(value, "shape");
  const length = fieldOf(value, "nbytes");
  const offset = fieldOf(value, "byteOffset");
  if (typeof said !== "string") throw bad("malformed", "it has no dtype");
  if (format !== "raw" && format !== "f32-to-bf16")
    throw bad("unsupported", `its format is ${quoted(format)}`);
  if (!Array.isArray(shape) || shape.length > MAX_DIMENSIONS || !shape.every(isWhole)) {
    throw bad("malformed", "its shape is not a list of up to 64 whole numbers");
  }
  if (!isWhole(length) || !isWhole(offset))
    throw bad("malformed", "its nbytes and byteOffset are not whole numbers");
  if (offset > size - length) {
    throw bad("malformed", `it ends at byte ${offset + length}, past the end of ${what} at ${size}`);
  }
  // The format narrows float32 only: tensors of other types are stored as they are.
  const narrowed = format === "f32-to-bf16" && said === "float32";
  const dtype = narrowed ? "bfloat16" : said;
  // The list does not say how sub-byte types are packed.
  if (!isDType(dtype) || DTYPE_BITS[dtype] % 8 !== 0) {
    return { name, dtype: "uint8", shape: [length], offset, length, unknown: said, narrowed };
  }
  const takes = tensorBytes(dtype, shape);
  if (takes !== length) {
    throw bad("size-mismatch", `[${shape.join(", ")}] ${dtype} takes ${takes} bytes, its data has ${length}`);
  }
  return { name, dtype, shape, offset, length, narrowed };
}

function fieldOf(value: unknown, key: string): unknown {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return undefined;
  return Object.hasOwn(value, key) ? (value as Record<string, unknown>)[key] : undefined;
}

function isWhole(value: unknown): value is number {
  return typeof value === "number" && Number.isSafeInteger(value) && value >= 0 && !Object.is(value, -0);
}

function quoted(value: unknown): string {
  return typeof value === "string" ? `"${value.slice(0, 40)}"` : "not a string";
}
