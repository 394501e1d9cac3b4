import type { FileFail, FormatError } from "../../errors.ts";
import type { FlatTable } from "../../encodings/flatbuffer/table.ts";
import { type DType, elementCount } from "../../tensor/dtype.ts";
import { SCALAR_TYPES } from "./schema.ts";

/** Most dimensions; ExecuTorch's tensors have fewer. */
const MAX_DIMENSIONS = 16;

/** The layout of a tensor's elements in a file. */
export interface ExecutorchLayout {
  /** ExecuTorch's number of the type. */
  readonly type: number;
  readonly sizes: readonly number[];
  /** The dimensions from the outermost to the innermost, as stored. */
  readonly dimOrder: readonly number[];
  /** In bytes; `undefined` for an unknown type. */
  readonly length: number | undefined;
}

/** A weight's type and shape. */
export interface ExecutorchWeightLayout {
  readonly dtype: DType;
  readonly shape: readonly number[];
  readonly plain?: string;
}

/** Field numbers of a layout. */
interface LayoutFields {
  readonly type: number;
  readonly sizes: number;
  readonly dimOrder: number;
}

/**
 * Parses a tensor's type, sizes and dimension order.
 * @throws FormatError `malformed`, `too-large`
 */
export function parseLayout(
  table: FlatTable,
  fields: LayoutFields,
  name: string,
  fail: FileFail,
): ExecutorchLayout {
  const type = table.int8(fields.type);
  const sizes = table.int32s(fields.sizes);
  const given = table.uint8s(fields.dimOrder);
  const bad = (reason: string): FormatError => fail("malformed", reason, { offset: table.at, tensor: name });
  if (sizes.length > MAX_DIMENSIONS) throw bad(`it has ${sizes.length} dimensions`);
  if (sizes.some((size) => size < 0)) throw bad(`its shape is [${sizes.join(", ")}]`);
  const dimOrder = given.length === 0 ? sizes.map((_, axis) => axis) : given;
  const axes = new Set(dimOrder);
  if (
    dimOrder.length !== sizes.length ||
    axes.size !== sizes.length ||
    dimOrder.some((a) => a >= sizes.length)
  ) {
    throw bad(`[${given.slice(0, MAX_DIMENSIONS).join(", ")}] is no order of its ${sizes.length} dimensions`);
  }
  const width = SCALAR_TYPES.get(type)?.width;
  const length = (elementCount(sizes) ?? Number.NaN) * (width ?? 1);
  if (!Number.isSafeInteger(length)) {
    throw fail("too-large", `its shape is [${sizes.join(", ")}]`, { offset: table.at, tensor: name });
  }
  return { type, sizes, dimOrder, length: width === undefined ? undefined : length };
}

/**
 * The type and shape of a weight. Bytes that are not row-major, or of an unknown type, are plain bytes.
 * @param length of the weight, in bytes
 */
export function weightLayout(layout: ExecutorchLayout | undefined, length: number): ExecutorchWeightLayout {
  const plain = (reason?: string): ExecutorchWeightLayout => ({
    dtype: "uint8",
    shape: [length],
    ...(reason !== undefined && { plain: reason }),
  });
  if (!layout) return plain();
  const { type, sizes, dimOrder } = layout;
  const dtype = SCALAR_TYPES.get(type)?.dtype;
  if (!dtype) return plain(`of scalar type ${type}, which tare does not know`);
  // A dimension of one element may have any place.
  const order = dimOrder.filter((axis) => sizes[axis] !== 1);
  const inOrder = order.every((axis, nth) => nth === 0 || axis > (order[nth - 1] as number));
  if (!inOrder && !sizes.includes(0)) return plain(`stored in the order [${dimOrder.join(", ")}]`);
  return { dtype, shape: sizes };
}
