import { type DType, tensorBytes } from "./dtype.ts";

/** Dtype and shape of a weight, whose bytes are little-endian elements, row-major. */
export interface TensorLayout {
  readonly dtype: DType;
  readonly shape: readonly number[];
}

/** Returns the size of a layout in bytes; `undefined` for a layout that no tensor can have. */
export function layoutBytes({ dtype, shape }: TensorLayout): number | undefined {
  return tensorBytes(dtype, shape);
}

/** Whether two layouts are equal. */
export function sameLayout(a: TensorLayout, b: TensorLayout): boolean {
  return (
    a.dtype === b.dtype &&
    a.shape.length === b.shape.length &&
    a.shape.every((dim, axis) => dim === b.shape[axis])
  );
}

/** Formats a layout for errors: `float32 [2, 3]`. */
export function formatLayout({ dtype, shape }: TensorLayout): string {
  return `${dtype} [${shape.join(", ")}]`;
}
