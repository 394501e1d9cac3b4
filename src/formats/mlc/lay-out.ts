import type { Checksum, Checksums, FolderLayout, WeightSpec } from "../lay-out.ts";
import { encodeTensorCache, planTensorCache } from "./write.ts";

/**
 * Lays weights out as the folder of a tensor cache: shards, and then the list, which has their checksums.
 * @param path of the list
 * @throws FormatError what {@link planTensorCache} throws
 */
export function layOutTensorCache(
  weights: readonly WeightSpec[],
  path: string,
  checksums: Checksums,
): FolderLayout {
  const shards = planTensorCache(weights);
  const sums = shards.map(() => checksums.md5());
  const files = shards.map(({ name, size, records }, nth) => {
    const sum = sums[nth] as Checksum<string>;
    const pieces = records.map(({ spec: weight, offset }) => ({ offset, weight, sum }));
    return { name, layout: { pieces, size } };
  });
  const late = (): Uint8Array => encodeTensorCache(shards, (nth) => sums[nth]?.value as string);
  // All checksums have the same length.
  const { byteLength: size } = late();
  const list = path.replace(/^.*[\\/]/s, "");
  return { files: [...files, { name: list, layout: { pieces: [{ offset: 0, length: size, late }], size } }] };
}
