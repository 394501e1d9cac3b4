import { FormatError, operationError } from "../errors.ts";
import type { DType } from "../tensor/dtype.ts";
import type { FileLayout, LayoutPiece, WeightSpec } from "./lay-out.ts";

/** Lays out a file that is a header and then weights, each at its offset. */
export function placeWeights(
  header: Uint8Array,
  weights: readonly WeightSpec[],
  offsets: readonly number[],
  size: number,
): FileLayout {
  const placed = weights.map((weight, nth): LayoutPiece => ({ offset: offsets[nth] as number, weight }));
  return { pieces: [{ offset: 0, bytes: header }, ...placed], size };
}

/**
 * The number that a container has for a weight's dtype.
 * @throws FormatError `unsupported`
 */
export function typeNumber(
  types: ReadonlyMap<number, DType | undefined>,
  weight: WeightSpec,
  container: string,
): number {
  for (const [number, dtype] of types) if (dtype === weight.dtype) return number;
  throw noDType(weight, container);
}

/** Makes the error for a dtype that a container does not have. */
export function noDType({ name, dtype }: WeightSpec, container: string): FormatError {
  return operationError(FormatError, {
    code: "unsupported",
    doing: `write weight "${name}" as ${container}`,
    reason: `it has no ${dtype}`,
    tensor: name,
    hint: "Choose another container; docs/formats.md says what each can hold",
  });
}
