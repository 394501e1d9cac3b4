import { FormatError, operationError } from "../../errors.ts";
import type { Checksums, FileLayout, WeightSpec } from "../lay-out.ts";
import { layOutArchive } from "../lay-out-archive.ts";
import { placeWeights } from "../place-weights.ts";
import { NPZ_STYLE, npzEntryNames } from "./archive.ts";
import { npyHeaderFor } from "./write.ts";

/**
 * Lays weights out as `numpy.savez` does.
 * @throws FormatError what {@link npzEntryNames} and {@link npyHeaderFor} throw
 */
export function layOutNpz(weights: readonly WeightSpec[], _path: string, checksums: Checksums): FileLayout {
  const names = npzEntryNames(weights.map(({ name }) => name));
  const members = weights.map((weight, nth) => {
    const { name, dtype, shape } = weight;
    return { name: names[nth] as string, bytes: npyHeaderFor(name, dtype, shape), weight };
  });
  return layOutArchive(members, NPZ_STYLE, checksums);
}

/**
 * Lays one weight out as `numpy.save` does.
 * @throws FormatError what {@link npyHeaderFor} throws; `unsupported` for any other number of weights
 */
export function layOutNpy(weights: readonly WeightSpec[]): FileLayout {
  const [weight, other] = weights;
  if (!weight || other) {
    throw operationError(FormatError, {
      code: "unsupported",
      doing: `write ${weights.length} weights as .npy`,
      reason: "it holds one array",
      tensor: other?.name,
      hint: "Write a .npz file",
    });
  }
  const bytes = npyHeaderFor(weight.name, weight.dtype, weight.shape);
  return placeWeights(bytes, weights, [bytes.byteLength], bytes.byteLength + weight.length);
}
