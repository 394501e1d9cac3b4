import { type DType, tensorBytes } from "./dtype.ts";

/** What a weight's bytes are: little-endian elements, row-major. */
export interface TensorLayout {
  readonly dtype: DType;
  readonly shape: readonly number[];
}

/** Bytes that a layout takes; `undefined` if no tensor can have it. */
export function layoutBytes({ dtype, shape }: TensorLayout): number | undefined {
  return tensorBytes(dtype, shape);
}

/** Whether two layouts are one. */
export function sameLayout(a: TensorLayout, b: TensorLayout): boolean {
  return (
    a.dtype === b.dtype &&
    a.shape.length === b.shape.length &&
    a.shape.every((dim, axis) => dim === b.shape[axis])
  );
}

/** A layout as errors spell it. */
export function formatLayout({ dtype, shape }: TensorLayout): string {
  return `${dtype} [${shape.join(", ")}]`;
}
