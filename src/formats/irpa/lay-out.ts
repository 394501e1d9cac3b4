import type { FileLayout, WeightSpec } from "../lay-out.ts";
import { placeWeights } from "../place-weights.ts";
import { encodeIrpaHeader, irpaTensorMetadata } from "./write.ts";

/**
 * Lays weights out as an IREE parameter archive, with the metadata of IREE's Python tools.
 * @throws FormatError what {@link encodeIrpaHeader} throws
 */
export function layOutIrpa(weights: readonly WeightSpec[]): FileLayout {
  const { bytes, offsets, size } = encodeIrpaHeader(
    weights.map(({ name, dtype, shape, length }) => {
      return { kind: "data", name, metadata: irpaTensorMetadata(dtype, shape), length };
    }),
  );
  return placeWeights(bytes, weights, offsets as number[], size);
}
