import type { FileLayout, WeightSpec } from "../lay-out.ts";
import { placeWeights } from "../place-weights.ts";
import { encodeSafetensorsHeader } from "./write.ts";

/**
 * Lays weights out as a safetensors file, in the order of the reference implementation.
 * @throws FormatError what {@link encodeSafetensorsHeader} throws
 */
export function layOutSafetensors(weights: readonly WeightSpec[]): FileLayout {
  const { bytes, tensors, size } = encodeSafetensorsHeader(weights);
  const offsets = tensors.map(({ offset }) => offset);
  return placeWeights(
    bytes,
    tensors.map(({ spec }) => spec),
    offsets,
    size,
  );
}
