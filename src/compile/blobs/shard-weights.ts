import type { ByteSource } from "../../io/byte-source.ts";
import { FormatError } from "../../errors.ts";
import type { WeightSource } from "../../weights/weight-source.ts";
import { rangeWeights, type WeightPlace } from "../../weights/range.ts";
import type { ShardEntry } from "./shard-plan.ts";

/**
 * Makes a weight source of the blobs in data files, by key. A blob without a layout is a tensor of uint8. The caller
 * closes the sources, after the last use of the weights.
 * @param files a source for each file of the plan
 * @throws FormatError `size-mismatch`, `not-found` with key, file and offset
 */
export function shardWeights(
  table: Iterable<readonly [string, ShardEntry]>,
  files: readonly ByteSource[],
  name = "data files",
): WeightSource {
  return rangeWeights(
    name,
    [...table].map(([key, entry]) => placeOf(key, entry, files)),
  );
}

function placeOf(key: string, entry: ShardEntry, files: readonly ByteSource[]): WeightPlace {
  const { file, offset, length, digest, layout } = entry;
  const source = files[file];
  if (!source) {
    throw new FormatError("not-found", `Cannot find data file ${file}, which has "${key}"`, { tensor: key });
  }
  if (length > source.size - offset) {
    throw new FormatError(
      "size-mismatch",
      `Cannot read "${key}" of "${source.name}": it ends at byte ${offset + length}, past the end of the file at ${source.size}`,
      { path: source.name, tensor: key, offset, digest, hint: "Give the data file of this program" },
    );
  }
  return {
    key,
    layout: { ...(layout ?? { dtype: "uint8", shape: [length] }), digest },
    path: source.name,
    offset,
    length,
    source,
  };
}
