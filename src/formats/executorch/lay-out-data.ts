import type { FileLayout, WeightSpec } from "../lay-out.ts";
import { placeWeights, typeNumber } from "../place-weights.ts";
import { SCALAR_TYPES } from "./schema.ts";
import { encodeDataHeader } from "./write-data.ts";

/** Numbers of quantized types and of bits, whose elements are read as the integers that store them. */
const QUANTIZED: ReadonlySet<number> = new Set([12, 13, 14, 22]);

/**
 * Lays weights out as a data file (.ptd).
 * @throws FormatError what {@link encodeDataHeader} throws; `unsupported` for a dtype that ExecuTorch does not have
 */
export function layOutData(weights: readonly WeightSpec[]): FileLayout {
  const plain = [...SCALAR_TYPES].filter(([number]) => !QUANTIZED.has(number));
  const types = new Map(plain.map(([number, { dtype }]) => [number, dtype]));
  const named = weights.map((weight, segment) => {
    const { name: key, shape: sizes } = weight;
    const dimOrder = sizes.map((_, axis) => axis);
    return { key, segment, layout: { type: typeNumber(types, weight, "PTD"), sizes, dimOrder } };
  });
  const segments = weights.map(({ length }) => ({ length }));
  const header = encodeDataHeader({ segments, named });
  const offsets = header.segments.map(({ offset }) => offset);
  return placeWeights(header.bytes, weights, offsets, header.size);
}
