import { resolve } from "node:path";
import { rangeWeights } from "../../weights/range.ts";
import type { WeightSource } from "../../weights/weight-source.ts";
import type { OpenMlir } from "./open.ts";

/** Makes a weight source of the blobs of an MLIR file, as bytes without a type. */
export function mlirBlobs({ blobs, hex, source }: OpenMlir): WeightSource {
  return rangeWeights(
    resolve(source.name),
    blobs.map(({ key, offset, length, alignment }) => {
      const layout = { dtype: "uint8" as const, shape: [length], digest: undefined, alignment };
      return { key, layout, path: source.name, offset, length: hex ? 2 * length : length, hex, source };
    }),
  );
}
