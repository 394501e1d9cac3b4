import { encodeTensorCache, planTensorCache } from "../../formats/mlc/write.ts";
import type { FileLayout, WeightSpec } from "./layout.ts";
import { Md5 } from "./sums.ts";

/** A file of a folder of weights. */
export interface FolderFile {
  readonly name: string;
  readonly layout: FileLayout;
}

/** Lays weights out as the files of a folder, each made when those before it have gone by. */
type LayOutFolder = (weights: readonly WeightSpec[]) => readonly FolderFile[];

/** Containers that are folders, by the name of the file that says what is in the others. */
export const WEIGHT_FOLDERS: ReadonlyMap<string, LayOutFolder> = new Map(
  ["tensor-cache.json", "ndarray-cache.json"].map((list) => [
    list,
    (weights) => layOutTensorCache(weights, list),
  ]),
);

function layOutTensorCache(weights: readonly WeightSpec[], list: string): FolderFile[] {
  const shards = planTensorCache(weights);
  const sums = shards.map(() => new Md5());
  const files = shards.map(({ name, size, records }, nth): FolderFile => {
    const sum = sums[nth] as Md5;
    const pieces = records.map(({ spec: weight, offset }) => ({ offset, weight, sum }));
    return { name, layout: { pieces, size } };
  });
  const late = (): Uint8Array => encodeTensorCache(shards, (nth) => (sums[nth] as Md5).hex);
  // Checksums are of one length, whatever they say.
  const { byteLength: size } = late();
  return [...files, { name: list, layout: { pieces: [{ offset: 0, length: size, late }], size } }];
}
