import type { FileLayout, LayoutPiece, WeightSpec } from "../lay-out.ts";
import { noDType } from "../place-weights.ts";
import { typeOfDType } from "./schema.ts";
import { encodeTvmParams } from "./write.ts";

/**
 * Lays weights out as TVM's parameter file: a header before each array's data.
 * @throws FormatError what {@link encodeTvmParams} throws; `unsupported` for a dtype that DLPack does not have
 */
export function layOutTvmParams(weights: readonly WeightSpec[]): FileLayout {
  const specs = weights.map((weight) => {
    const type = typeOfDType(weight.dtype);
    if (!type) throw noDType(weight, "TVM parameters");
    return { name: weight.name, type, shape: weight.shape };
  });
  const { places, empty, size } = encodeTvmParams(specs);
  if (places.length === 0) return { pieces: [{ offset: 0, bytes: empty }], size };
  const pieces = places.flatMap(({ header, offset }, nth): LayoutPiece[] => [
    { offset: offset - header.byteLength, bytes: header },
    { offset, weight: weights[nth] as WeightSpec },
  ]);
  return { pieces, size };
}
