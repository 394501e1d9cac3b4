import type { ElementOrder } from "./element-order.ts";

/** Memory of a block, in bytes. */
const MAX_BLOCK_BYTES = 32 * 1024 * 1024;
/** Longest read, in bytes. */
const MAX_SPAN_BYTES = 4 * 1024 * 1024;
/** A read up to this length costs as much as a shorter one, in bytes: it may read more than it needs. */
const CHEAP_SPAN_BYTES = 64 * 1024;
/** How often the needed bytes a longer read may take. */
const MAX_SPARSITY = 8;

/** A dimension of a block. */
export interface Axis {
  readonly size: number;
  /** Elements from one index to the next in the source. */
  readonly stride: number;
  /** The same in the block. */
  readonly step: number;
}

/** The way in which an array is divided: into ranges of one dimension, of which each has all that is below it. */
export interface BlockPlan {
  readonly order: ElementOrder;
  /** The dimension that is divided. */
  readonly axis: number;
  /** Its longest range. */
  readonly rows: number;
  /** For each dimension, elements of one index. */
  readonly steps: readonly number[];
}

/** A range of an array, row-major. */
export interface Block {
  /** The first element in the array. */
  readonly start: number;
  /** Number of elements. */
  readonly count: number;
  /** The first element in the source. */
  readonly from: number;
  readonly axes: readonly Axis[];
}

/** Divides an array into blocks. */
export function planBlocks(order: ElementOrder): BlockPlan {
  const { shape, width } = order;
  const steps = shape.map((_, axis) => shape.slice(axis + 1).reduce((product, size) => product * size, 1));
  const first = steps.findIndex((step) => step * width <= MAX_BLOCK_BYTES);
  const axis = Math.max(0, first);
  const rows = Math.max(1, Math.floor(MAX_BLOCK_BYTES / (Math.max(1, steps[axis] ?? 1) * width)));
  return { order, axis, rows, steps };
}

/** The block that has an element, by the element's place in the array. */
export function blockAt({ order, axis, rows, steps }: BlockPlan, element: number): Block {
  const { shape, strides } = order;
  let rest = element;
  let [start, from] = [0, order.offset];
  for (let outer = 0; outer < axis; outer++) {
    const step = steps[outer] as number;
    const index = Math.floor(rest / step);
    rest -= index * step;
    start += index * step;
    from += index * (strides[outer] as number);
  }
  const step = steps[axis] ?? 1;
  const row = Math.floor(rest / step / rows) * rows;
  const count = Math.min(rows, (shape[axis] ?? 1) - row);
  const axes = shape.slice(axis).map((size, nth) => ({
    size: nth === 0 ? count : size,
    stride: strides[axis + nth] as number,
    step: steps[axis + nth] as number,
  }));
  start += row * step;
  from += row * (strides[axis] ?? 0);
  return { start, count: count * step, from, axes: axes.filter(({ size }) => size > 1) };
}

/** Reads of one length that take elements of a block. */
export interface BlockPass {
  /** The first element in the source, and its place in the block. */
  readonly from: number;
  readonly to: number;
  /** Axes that one read covers, from the shortest stride to the longest. */
  readonly inner: readonly Axis[];
  /** Axes around it, from the longest stride to the shortest. */
  readonly outer: readonly Axis[];
  /** Elements of a read. */
  readonly span: number;
}

/** Chooses how much of a block is read at once: more than is needed where that takes fewer reads. */
export function planPasses({ from, axes }: Block, width: number): BlockPass[] {
  const sorted = axes.toSorted((a, b) => a.stride - b.stride);
  let [span, needed, nth] = [1, 1, 0];
  for (; nth < sorted.length; nth++) {
    const { size, stride } = sorted[nth] as Axis;
    const next = span + (size - 1) * stride;
    const isDense = next * width <= MAX_SPAN_BYTES && next <= needed * size * MAX_SPARSITY;
    if (next * width > CHEAP_SPAN_BYTES && !isDense) break;
    span = next;
    needed *= size;
  }
  const inner = sorted.slice(0, nth);
  const [between, ...others] = sorted.slice(nth);
  const outer = others.reverse();
  if (!between) return [{ from, to: 0, inner, outer, span }];
  // A cheap read covers some rows of the next axis; those that are left over at its end are a pass of their own.
  const { size, stride, step } = between;
  const rows = Math.max(1, Math.floor((CHEAP_SPAN_BYTES / width - span) / stride) + 1);
  const pass = (first: number, count: number, groups: number): BlockPass => ({
    from: from + first * stride,
    to: first * step,
    inner: [...inner, { size: count, stride, step }],
    outer: [...outer, { size: groups, stride: stride * count, step: step * count }],
    span: span + (count - 1) * stride,
  });
  const rest = size % rows;
  return [
    ...(size >= rows ? [pass(0, rows, Math.floor(size / rows))] : []),
    ...(rest > 0 ? [pass(size - rest, rest, 1)] : []),
  ];
}
