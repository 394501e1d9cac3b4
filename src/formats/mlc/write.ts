import type { DType } from "../../tensor/dtype.ts";
import { fileErrors } from "../../errors.ts";
import { MAX_DIMENSIONS } from "./parse.ts";

/** A tensor to write. */
export interface CacheSpec {
  readonly name: string;
  readonly dtype: DType;
  readonly shape: readonly number[];
  /** In bytes. */
  readonly length: number;
}

/** A shard of a cache, and the places of its tensors. */
export interface PlannedShard<T> {
  /** Name of the file, beside the list. */
  readonly name: string;
  /** In bytes. */
  readonly size: number;
  readonly records: readonly { readonly spec: T; readonly offset: number }[];
}

/** Size that browsers load at a time: 32 MiB. */
const MAX_SHARD_BYTES = 32 * 1024 * 1024;

/** Dtypes that TVM has, under the same names. */
const NAMED: ReadonlySet<DType> = new Set([
  ...(["bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"] as const),
  ...(["float16", "bfloat16", "float32", "float64"] as const),
  ...(["float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz"] as const),
]);

const fail = fileErrors({ format: "a tensor cache" });

/**
 * Distributes tensors over shards as TVM does: one after another. A tensor that does not fit gets a shard to itself if
 * it is at least half as large as a shard. Source: tvm.contrib.tvmjs of Apache TVM.
 * @param largest limit of a shard with several tensors, in bytes; shards stay below
 * @throws FormatError `unsupported` for a dtype or a shape that TVM does not have
 */
export function planTensorCache<T extends CacheSpec>(
  specs: readonly T[],
  largest: number = MAX_SHARD_BYTES,
): PlannedShard<T>[] {
  const shards: PlannedShard<T>[] = [];
  let records: { spec: T; offset: number }[] = [];
  let size = 0;
  const commit = (what: typeof records, bytes: number): void => {
    shards.push({ name: `params_shard_${shards.length}.bin`, size: bytes, records: what });
  };
  const commitPending = (): void => {
    if (records.length > 0) commit(records, size);
    [records, size] = [[], 0];
  };
  for (const spec of specs) {
    const { name, dtype, shape, length } = spec;
    if (!NAMED.has(dtype)) {
      throw fail("unsupported", `TVM has no ${dtype}`, {
        tensor: name,
        hint: "Convert it to another type first",
      });
    }
    if (shape.length > MAX_DIMENSIONS) {
      throw fail("unsupported", `it has ${shape.length} dimensions`, { tensor: name });
    }
    if (size + length >= largest) {
      if (length * 2 >= largest) {
        commit([{ spec, offset: 0 }], length);
        continue;
      }
      commitPending();
    }
    records.push({ spec, offset: size });
    size += length;
  }
  commitPending();
  return shards;
}

/**
 * Encodes the list of a cache, with MLC's metadata. Bits per parameter count the stored elements.
 * @param md5Of gives the checksum of a shard, by its index, in hexadecimal
 */
export function encodeTensorCache(
  shards: readonly PlannedShard<CacheSpec>[],
  md5Of: (shard: number) => string,
): Uint8Array {
  const specs = shards.flatMap(({ records }) => records.map(({ spec }) => spec));
  const bytes = specs.reduce((sum, { length }) => sum + length, 0);
  const elements = specs.reduce(
    (sum, { shape }) => sum + shape.reduce((product, each) => product * each, 1),
    0,
  );
  const metadata = {
    ParamSize: specs.length,
    ParamBytes: bytes,
    BitsPerParam: elements === 0 ? 0 : (bytes * 8) / elements,
  };
  const records = shards.map((shard, nth) => ({
    dataPath: shard.name,
    format: "raw-shard",
    nbytes: shard.size,
    records: shard.records.map(({ spec: { name, shape, dtype, length: nbytes }, offset: byteOffset }) => {
      return { name, shape, dtype, format: "raw", nbytes, byteOffset };
    }),
    md5sum: md5Of(nth),
  }));
  return new TextEncoder().encode(JSON.stringify({ metadata, records }, null, 4));
}
