import type { FileLayout, WeightSpec } from "../lay-out.ts";
import { placeWeights, typeNumber } from "../place-weights.ts";
import { TENSOR_TYPES } from "./schema.ts";
import { encodeGgufHeader } from "./write.ts";

/**
 * Lays weights out as a GGUF file without metadata.
 * @throws FormatError what {@link encodeGgufHeader} throws; `unsupported` for a dtype that ggml does not have
 */
export function layOutGguf(weights: readonly WeightSpec[]): FileLayout {
  const tensors = weights.map((weight) => {
    return { name: weight.name, type: typeNumber(TENSOR_TYPES, weight, "GGUF"), shape: weight.shape };
  });
  const { bytes, offsets, size } = encodeGgufHeader({ metadata: [], tensors });
  return placeWeights(bytes, weights, offsets, size);
}
